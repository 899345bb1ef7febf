#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace diffllama::cli_test {

/// What a run of the program left behind.
struct Result {
  int status = -1;  // the exit status, or minus the signal that ended it
  std::string out, err;
};

/// What a run finds around it.
struct Surroundings {
  std::string input = {};                             // standard input
  std::string input_path = {};                        // where it is read from instead
  bool input_is_closed = false;                       // there is none
  std::map<std::string, std::string> variables = {};  // set over ours; DIFFLLAMA_MODEL is unset
  std::string output = {};         // where standard output goes; empty: to Result::out
  bool reader_is_gone = false;     // standard output is a pipe that nobody reads
  bool output_is_closed = false;   // there is no standard output
  bool errors_are_closed = false;  // there is no standard error
};

/// Runs `diffllama ARGUMENTS`, as a process of its own.
Result run_program(const std::vector<std::string>& arguments, const Surroundings& around = {});

/// A folder of one test, gone after it.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// Writes a file and gives its path.
  std::string file(const std::string& name, const std::string& content) const;

 private:
  std::filesystem::path path_;
};

std::string read_file(const std::filesystem::path& path);

}  // namespace diffllama::cli_test
