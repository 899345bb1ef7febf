#include "cli/process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace diffllama::cli_test {
namespace {

namespace fs = std::filesystem;

void check(int error, const std::string& what) {
  if (error != 0) throw std::runtime_error(what + ": " + std::strerror(error));
}

std::vector<std::string> environment(const std::map<std::string, std::string>& variables) {
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const std::string name = text.substr(0, text.find('='));
    if (name != "DIFFLLAMA_MODEL" && !variables.contains(name)) result.push_back(text);
  }
  for (const auto& [name, value] : variables) result.emplace_back(name).append("=").append(value);
  return result;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  result.reserve(strings.size() + 1);
  for (std::string& text : strings) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

/// The files that a child's standard streams are opened on.
class FileActions {
 public:
  FileActions() { check(posix_spawn_file_actions_init(&actions_), "posix_spawn"); }
  ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;

  void open(int stream, const fs::path& path, int flags) {
    check(posix_spawn_file_actions_addopen(&actions_, stream, path.c_str(), flags, 0600), "open");
  }
  void duplicate(int from, int stream) {
    check(posix_spawn_file_actions_adddup2(&actions_, from, stream), "dup2");
  }
  void close(int stream) { check(posix_spawn_file_actions_addclose(&actions_, stream), "close"); }
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
};

// The writing end of a pipe without a reader.
int pipe_without_reader() {
  int ends[2];
  check(pipe2(ends, O_CLOEXEC) == 0 ? 0 : errno, "pipe");
  close(ends[0]);
  return ends[1];
}

}  // namespace

Result run_program(const std::vector<std::string>& arguments, const Surroundings& around) {
  const Scratch scratch;
  const fs::path out = scratch.path() / "out";
  const fs::path err = scratch.path() / "err";
  FileActions actions;
  const std::string input = scratch.file("in", around.input);
  if (around.input_is_closed) {
    actions.close(STDIN_FILENO);
  } else {
    actions.open(STDIN_FILENO, around.input_path.empty() ? input : around.input_path, O_RDONLY);
  }
  const int pipe = around.reader_is_gone ? pipe_without_reader() : -1;
  if (around.reader_is_gone) {
    actions.duplicate(pipe, STDOUT_FILENO);
  } else if (around.output_is_closed) {
    actions.close(STDOUT_FILENO);
  } else {
    actions.open(STDOUT_FILENO, around.output.empty() ? out : fs::path(around.output),
                 O_WRONLY | O_CREAT);
  }
  if (around.errors_are_closed) {
    actions.close(STDERR_FILENO);
  } else {
    actions.open(STDERR_FILENO, err, O_WRONLY | O_CREAT);
  }

  std::vector<std::string> words{DIFFLLAMA_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> variables = environment(around.variables);
  pid_t process = 0;
  const int error = posix_spawn(&process, DIFFLLAMA_PROGRAM, actions.get(), nullptr,
                                pointers(words).data(), pointers(variables).data());
  if (pipe >= 0) close(pipe);
  check(error, DIFFLLAMA_PROGRAM);
  int status = 0;
  while (waitpid(process, &status, 0) < 0) check(errno == EINTR ? 0 : errno, "waitpid");
  Result result;
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  if (fs::exists(out)) result.out = read_file(out);
  if (fs::exists(err)) result.err = read_file(err);
  return result;
}

Scratch::Scratch() {
  std::string name = (fs::temp_directory_path() / "diffllama-test-XXXXXX").string();
  check(mkdtemp(name.data()) == nullptr ? errno : 0, name);
  path_ = name;
}

Scratch::~Scratch() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string Scratch::file(const std::string& name, const std::string& content) const {
  const fs::path path = path_ / name;
  std::ofstream stream(path, std::ios::binary);
  stream.write(content.data(), static_cast<std::streamsize>(content.size()));
  if (!stream.flush()) throw std::runtime_error(path.string() + ": cannot write");
  return path.string();
}

std::string read_file(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw std::runtime_error(path.string() + ": cannot open");
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

}  // namespace diffllama::cli_test
