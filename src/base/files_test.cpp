#include "diffllama/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "base/regular_file.h"
#include "base/signals.h"
#include "base/unfinished_directory.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Files : public testing::Test {
 public:
  Files() {
    std::string pattern = (fs::temp_directory_path() / "diffllama-files-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
  }
  ~Files() override { fs::remove_all(directory_); }

 protected:
  fs::path write(const std::string& name, const std::string& text) const {
    std::ofstream(directory_ / name, std::ios::binary) << text;
    return directory_ / name;
  }
  static std::string read(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::size_t entries() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(directory_), fs::directory_iterator()));
  }
  template <class Body>
  static std::string io_error(const Body& body) {
    try {
      body();
    } catch (const IoError& error) {
      return error.what();
    }
    return "no IoError";
  }

  fs::path directory_;
};

TEST_F(Files, MapsAFile) {
  const std::string text(100'000, 'x');
  const MappedFile file(write("a", text));
  ASSERT_EQ(file.bytes().size(), text.size());
  EXPECT_EQ(std::memcmp(file.bytes().data(), text.data(), text.size()), 0);
  release_pages(file.bytes().subspan(1, 90'000));
  release_pages(file.bytes().first(10));
  EXPECT_EQ(std::memcmp(file.bytes().data(), text.data(), text.size()), 0);
}

TEST_F(Files, MapsAnEmptyFile) { EXPECT_TRUE(MappedFile(write("empty", "")).bytes().empty()); }

TEST_F(Files, SaysWhyAFileCannotBeMapped) {
  EXPECT_EQ(io_error([&] { MappedFile file(directory_ / "none"); }),
            (directory_ / "none").string() + ": cannot open: No such file or directory");
  EXPECT_THAT(io_error([&] { MappedFile file(directory_); }),
              HasSubstr("expected a file, got a directory"));
  EXPECT_THAT(io_error([&] { MappedFile file("/dev/null"); }),
              HasSubstr("expected a file, got a device"));
  const fs::path pipe = directory_ / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(io_error([&] { MappedFile file(pipe); }), HasSubstr("expected a file, got a pipe"));
}

TEST_F(Files, ReadsRegularFilesAlone) {
  const std::string text(100'000, 'x');
  EXPECT_EQ(read_file(write("a", text)), text);
  EXPECT_EQ(read_file_if_there(directory_ / "a"), text);
  EXPECT_EQ(read_file_if_there(directory_ / "none"), "");
  EXPECT_THAT(io_error([&] { read_file(directory_ / "none"); }), HasSubstr("cannot open"));
  const fs::path pipe = directory_ / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(io_error([&] { read_file(pipe); }), HasSubstr("expected a file, got a pipe"));
  EXPECT_THAT(io_error([&] { read_file_if_there(pipe); }), HasSubstr("got a pipe"));
  EXPECT_THAT(io_error([&] { read_file_or_pipe(directory_); }), HasSubstr("got a directory"));
  EXPECT_THAT(io_error([&] { read_file_or_pipe("/dev/zero"); }), HasSubstr("got a device"));
}

TEST_F(Files, APipeIsReadToItsEndWhereItMayBeOne) {
  const fs::path pipe = directory_ / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const std::string text(200'000, 'y');
  std::thread writer([&] { std::ofstream(pipe, std::ios::binary) << text; });
  EXPECT_EQ(read_file_or_pipe(pipe), text);
  writer.join();
}

TEST_F(Files, RefusesToOverwriteAnInput) {
  const auto refusal = [](const fs::path& output, const std::vector<fs::path>& inputs) {
    try {
      refuse_overwriting(output, inputs);
    } catch (const InvalidArgument& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const fs::path input = write("in", "x");
  const fs::path other = write("other", "x");
  fs::create_symlink("in", directory_ / "link");
  fs::create_hard_link(input, directory_ / "hard");
  EXPECT_EQ(refusal(other, {input}), "");
  EXPECT_EQ(refusal(directory_ / "none", {input, directory_ / "none"}), "");
  EXPECT_EQ(refusal(input, {other, input}),
            input.string() + ": expected another path than what is read, got " + input.string());
  for (const char* same : {"link", "hard", "./in"}) {
    EXPECT_NE(refusal(directory_ / same, {input}), "") << same;
    EXPECT_NE(refusal(input, {directory_ / same}), "") << same;
  }
  EXPECT_NE(refusal(directory_, {directory_ / "."}), "");
}

TEST_F(Files, WritesAndReplaces) {
  const fs::path path = directory_ / "a";
  write_file_atomically(path, "old");
  EXPECT_EQ(read(path), "old");
  fs::permissions(path, fs::perms::owner_read);
  const std::string large(3'000'001, 'y');
  write_file_atomically(path, large);
  EXPECT_EQ(read(path), large);
  EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_read);
  EXPECT_EQ(entries(), 1U);
}

TEST_F(Files, WithoutCommitTheOldFileStays) {
  const fs::path path = write("a", "old");
  {
    AtomicFile file(path);
    file.write(std::string(2 << 20, 'z'));
    AtomicFile other(path);  // a second writer at the same time has a temporary of its own
    other.write("other");
  }
  EXPECT_EQ(read(path), "old");
  EXPECT_EQ(entries(), 1U);
}

// What a full disk does, from a limit on the size of files: write() fails half-way.
TEST_F(Files, AFullDiskLeavesTheOldFileAndNoTemporary) {
  const fs::path path = write("a", "old");
  rlimit old_limit{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  auto* const old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{1 << 20, old_limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const std::string message =
      io_error([&] { write_file_atomically(path, std::string(3 << 20, 'z')); });
  setrlimit(RLIMIT_FSIZE, &old_limit);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(message, path.string() + ": cannot write: File too large");
  EXPECT_EQ(read(path), "old");
  EXPECT_EQ(entries(), 1U);
}

TEST_F(Files, AReadOnlyDirectoryIsAnError) {
  const fs::path path = write("a", "old");
  fs::permissions(directory_, fs::perms::owner_read | fs::perms::owner_exec);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    // The superuser may write anywhere, so it becomes nobody.
    if (geteuid() == 0) {
      if (chown(directory_.c_str(), 65534, 65534) != 0 || seteuid(65534) != 0) _exit(3);
    }
    const std::string message = io_error([&] { write_file_atomically(path, "new"); });
    _exit(message == path.string() + ": cannot create: Permission denied" ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  fs::permissions(directory_, fs::perms::owner_all);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(read(path), "old");
  EXPECT_EQ(entries(), 1U);
}

TEST_F(Files, RefusesWhatIsNoRegularFile) {
  EXPECT_THAT(io_error([&] { write_file_atomically(directory_, "x"); }),
              HasSubstr("expected a regular file or none, got a directory"));
  EXPECT_THAT(io_error([&] { write_file_atomically("/dev/null", "x"); }),
              HasSubstr("expected a regular file or none, got a device or pipe"));
  EXPECT_THAT(io_error([&] { write_file_atomically(directory_ / "none" / "a", "x"); }),
              HasSubstr("cannot create: No such file or directory"));
}

TEST_F(Files, KillLeavesTheOldFileOrTheNewOne) {
  const fs::path path = write("a", std::string(1'000'000, 'o'));
  for (int round = 0; round < 20; ++round) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (char letter = 'a';; letter = letter == 'z' ? 'a' : static_cast<char>(letter + 1)) {
        write_file_atomically(path, std::string(1'000'000, letter));
      }
    }
    usleep(static_cast<useconds_t>(1000 * (round + 1)));
    kill(child, SIGKILL);
    ASSERT_EQ(waitpid(child, nullptr, 0), child);
    const std::string text = read(path);
    ASSERT_EQ(text.size(), 1'000'000U);
    ASSERT_EQ(text, std::string(text.size(), text[0]));
  }
  write_file_atomically(path, "new");
  EXPECT_EQ(entries(), 1U) << "what the killed ones left is removed by the next";
}

TEST_F(Files, AnUnfinishedDirectoryLeavesNothing) {
  {
    const UnfinishedDirectory directory(directory_ / "above" / "whole");
    std::ofstream(directory.unfinished() / "a") << "part";
    EXPECT_EQ(directory.unfinished().parent_path(), directory_ / "above");
    EXPECT_TRUE(fs::exists(directory.unfinished() / "a"));
  }
  EXPECT_TRUE(fs::is_empty(directory_ / "above"));
}

TEST_F(Files, AFinishedDirectoryStaysUnderItsName) {
  {
    UnfinishedDirectory directory(directory_ / "whole");
    std::ofstream(directory.unfinished() / "a") << "whole";
    directory.commit();
  }
  EXPECT_EQ(read(directory_ / "whole" / "a"), "whole");
  EXPECT_EQ(entries(), 1U);
}

TEST_F(Files, AnUnfinishedDirectoryReplacesNoOtherFiles) {
  fs::create_directory(directory_ / "whole");
  write("whole/b", "old");
  write("file", "");
  {
    UnfinishedDirectory directory(directory_ / "whole");
    EXPECT_THAT(io_error([&] { directory.commit(); }),
                HasSubstr("whole: cannot rename into place: Directory not empty"));
    const fs::path below = directory_ / "file" / "below";
    EXPECT_THAT(io_error([&] { UnfinishedDirectory unmade(below); }),
                HasSubstr("below: cannot create: Not a directory"));
  }
  EXPECT_EQ(read(directory_ / "whole" / "b"), "old");
  EXPECT_EQ(entries(), 2U);
}

TEST_F(Files, AnErrorInAnUnfinishedDirectoryNamesItsFinalPath) {
  const UnfinishedDirectory directory(directory_ / "whole");
  const std::string message = io_error([&] {
    directory.fill(
        [](const fs::path& unfinished) { write_file_atomically(unfinished / "none" / "a", "x"); });
  });
  EXPECT_EQ(message, (directory_ / "whole" / "none" / "a").string() +
                         ": cannot create: No such file or directory");
}

// A container's process has the same id each time, so no name that follows from it is new.
TEST_F(Files, WhatADeadProcessLeftIsRemovedAndNeverTaken) {
  const std::string id = std::to_string(getpid());
  fs::create_directory(directory_ / (".diffllama-" + id + ".tmp"));
  write(".diffllama-" + id + ".tmp/tokenizer.json", "of another model");
  write(".diffllama-" + id + "-0.tmp", "half a file");
  write(".diffllama-0123456789abcdef.tmp", "half a file");
  fs::permissions(directory_ / ".diffllama-0123456789abcdef.tmp", fs::perms::owner_write);
  write(".diffllama-.tmp", "a name of nothing of ours");
  fs::create_directory(directory_ / "other");
  fs::create_directory_symlink(directory_ / "other", directory_ / ".diffllama-link.tmp");
  {
    UnfinishedDirectory directory(directory_ / "whole");
    EXPECT_TRUE(fs::is_empty(directory.unfinished()));
    EXPECT_EQ(entries(), 4U);
    directory.commit();
  }
  EXPECT_TRUE(fs::is_empty(directory_ / "whole"));
  EXPECT_TRUE(fs::exists(directory_ / "other"));
  EXPECT_EQ(entries(), 4U);
}

TEST_F(Files, WhatALivingProcessWritesIsLeftAlone) {
  const AtomicFile file(directory_ / "a");
  const UnfinishedDirectory directory(directory_ / "b");
  ASSERT_EQ(entries(), 2U);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    write_file_atomically(directory_ / "c", "x");
    _exit(0);
  }
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  write_file_atomically(directory_ / "d", "x");
  EXPECT_EQ(entries(), 4U);
}

// In a child: writes beside `old`, then `end` ends it. Returns how it ended.
template <class End>
int end_while_writing(const fs::path& directory, const End& end) {
  const pid_t child = fork();
  if (child == 0) {
    clean_up_on_signals();
    AtomicFile file(directory / "old");
    file.write(std::string(2 << 20, 'n'));
    const UnfinishedDirectory unfinished(directory / "whole");
    for (int i = 0; i < 500; ++i) {  // more than one call for a listing gives
      std::ofstream(unfinished.unfinished() / std::to_string(i)) << "x";
    }
    AtomicFile inner(unfinished.unfinished() / "inner");
    end();
    _exit(0);
  }
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

TEST_F(Files, ASignalLeavesNothingUnfinished) {
  write("old", "old");
  for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM}) {
    SCOPED_TRACE(strsignal(signal));
    const int status = end_while_writing(directory_, [&] { kill(getpid(), signal); });
    EXPECT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), signal);
    EXPECT_EQ(entries(), 1U);
    EXPECT_EQ(read(directory_ / "old"), "old");
  }
}

TEST_F(Files, ASignalWhileOtherThreadsWriteLeavesNothingUnfinished) {
  const int status = end_while_writing(directory_, [&] {
    constexpr int kWriters = 4;
    std::vector<std::thread> writers;
    writers.reserve(kWriters);
    for (int i = 0; i < kWriters; ++i) {
      writers.emplace_back([this, i] {
        for (;;) write_file_atomically(directory_ / std::to_string(i), std::string(100'000, 'x'));
      });
    }
    usleep(20'000);
    kill(getpid(), SIGTERM);
    for (std::thread& writer : writers) writer.join();
  });
  EXPECT_TRUE(WIFSIGNALED(status));
  for (const auto& entry : fs::directory_iterator(directory_)) {
    EXPECT_EQ(read(entry.path()), std::string(100'000, 'x')) << entry.path();
  }
}

TEST_F(Files, AnIgnoredSignalStaysIgnored) {
  const int status = end_while_writing(directory_, [&] {
    std::signal(SIGHUP, SIG_IGN);
    clean_up_on_signals();
    kill(getpid(), SIGHUP);
  });
  EXPECT_TRUE(WIFEXITED(status));
}

// A limit on the size of files ends no program; it is an error as a full disk is.
TEST_F(Files, ALimitOnTheSizeOfFilesIsAnError) {
  write("old", "old");
  const int status = end_while_writing(directory_, [&] {
    rlimit limit{};
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = 1 << 20;
    setrlimit(RLIMIT_FSIZE, &limit);
    const std::string message =
        io_error([&] { write_file_atomically(directory_ / "old", std::string(3 << 20, 'z')); });
    _exit(message == (directory_ / "old").string() + ": cannot write: File too large" ? 7 : 1);
  });
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
  EXPECT_EQ(read(directory_ / "old"), "old");
}

}  // namespace
}  // namespace diffllama
