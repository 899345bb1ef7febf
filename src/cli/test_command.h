#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/common.h"

namespace diffllama::cli {

inline const std::string kTiny = DIFFLLAMA_SOURCE_DIR "/models/diffllama-tiny";
inline const std::string kGoldens = DIFFLLAMA_SOURCE_DIR "/tests/golden";
/// 2 layers, 56 tokens, no tokenizer.
inline const std::string kCausal = kGoldens + "/forward/diffllama_causal";

/// What a command wrote.
struct Output {
  std::string text, errors;
};

/// Runs a command of those that `add` adds, in this process; what it throws passes through.
inline Output run_command(const std::function<void(CLI::App&)>& add,
                          std::vector<std::string> arguments) {
  CLI::App app;
  add(app);
  std::ranges::reverse(arguments);  // CLI11 takes them from the back
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  try {
    app.parse(std::move(arguments));
  } catch (...) {
    testing::internal::GetCapturedStdout();
    testing::internal::GetCapturedStderr();
    throw;
  }
  std::cout.flush();
  return {testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
}

/// The same with the commands of models.
inline Output run(std::vector<std::string> arguments) {
  const auto add = [](CLI::App& app) {
    add_generate_command(app);
    add_info_command(app);
    add_perplexity_command(app);
    add_bench_command(app);
  };
  return run_command(add, std::move(arguments));
}

inline std::vector<nlohmann::json> json_lines(const std::string& text) {
  std::vector<nlohmann::json> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

/// A record of tests/golden/generate.json.
inline nlohmann::json golden(const std::string& name) {
  std::ifstream file(kGoldens + "/generate.json");
  const nlohmann::json goldens = nlohmann::json::parse(file);
  for (const nlohmann::json& record : goldens["sequences"]) {
    if (record["name"] == name) return record;
  }
  ADD_FAILURE() << "no golden " << name;
  return {};
}

/// A folder of its own that goes with the test.
class Folder {
 public:
  Folder()
      : path_(std::filesystem::path(testing::TempDir()) /
              ("diffllama_cli_" +
               std::string(testing::UnitTest::GetInstance()->current_test_info()->name()))) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::filesystem::path operator/(const char* name) const { return path_ / name; }
  std::string write(const char* name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
    return (path_ / name).string();
  }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace diffllama::cli
