// The program as its users meet it: a process with arguments, streams, an environment and an exit
// status. 0: done; 1: the work failed; 2: the command line was wrong. A failure is one line on
// standard error, and nothing on standard output.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/expectations.h"

namespace diffllama::cli_test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(CommandLine, HelpAndVersion) {
  for (const Arguments& arguments :
       std::vector<Arguments>{{"--help"}, {"-h"}, {"forward", "--help"}, {"tokenize", "--help"}}) {
    const Result help = run_program(arguments);
    EXPECT_EQ(help.status, 0);
    EXPECT_THAT(help.out, HasSubstr("Usage: "));
    EXPECT_THAT(help.err, IsEmpty());
  }
  const Result version = run_program({"--version"});
  EXPECT_EQ(version.status, 0);
  EXPECT_EQ(version.out, "diffllama " DIFFLLAMA_VERSION "\n");
  EXPECT_THAT(version.err, IsEmpty());
}

TEST(CommandLine, WrongOnesAreNamed) {
  const Arguments to_nowhere = forward(kCausal, "/dev/null/outputs");
  const struct {
    Arguments arguments;
    const char* named;
  } wrong[] = {
      {{}, "expected a command, got none"},
      {{"frobnicate"}, "expected a command, got \"frobnicate\" (see"},
      {{"\x1b[31m"}, "[31m\" (see"},
      {{"tarin"}, "got \"tarin\"; the nearest is train"},
      {{"bench", "--parallel", "1,,2"},
       "expected counts from 1 to 4096 with commas between, got 1,,2"},
      {{"bench", "-p", "1,"}, "expected counts from 0 to 16777216 with commas between, got 1,"},
      {{"bench", "-n", "nan"}, "with commas between, got nan"},
      {{"generat"}, "expected a command, got \"generat\"; the nearest is generate"},
      {{"--frobnicate"}, "expected a command before its options, got \"--frobnicate\""},
      {{"-p", "x"}, "expected a command before its options, got \"-p\""},
      {{"tokenize", "--frobnicate"}, "--frobnicate"},
      {{"tokenize", "stray"}, "stray"},
      {{"tokenize", "--decode", "--json"}, "--json"},
      {{"tokenize", "--skip-special"}, "--decode"},
      {{"tokenize", "-m"}, "--model"},
      {{"forward", "-m", kCausal, "--outputs", "x"}, "--inputs"},
      {{"forward", "-m", kCausal, "--inputs", "x"}, "--outputs"},
      {to_nowhere + Arguments{"-t", "-1"}, "--threads"},
      {to_nowhere + Arguments{"--threads", "many"}, "--threads"},
      {to_nowhere + Arguments{"--threads", "99999999999999999999"}, "--threads"},
      {to_nowhere + Arguments{"--prefill-chunk", "0"}, "--prefill-chunk"},
      {to_nowhere + Arguments{"--dtype", "float64"}, "--dtype"},
      {to_nowhere + Arguments{"--cache-type", "f16"}, "--cache-type"},
      {to_nowhere + Arguments{"--logits-to-keep", "-1"}, "--logits-to-keep"},
  };
  for (const auto& [arguments, named] : wrong) {
    SCOPED_TRACE(testing::PrintToString(arguments));
    expect_failure(run_program(arguments), 2, HasSubstr(named));
  }
}

// "$UNSET" is not the same as an option that is not there.
TEST(CommandLine, EmptyPathsAreRefused) {
  const std::vector<Arguments> with_empty_paths = {
      {"generate", "-p", "a", "-m", ""},
      {"generate", "-p", "a", "--adapter", ""},
      {"generate", "-p", "a", "--json-schema", ""},
      {"generate", "-p", "a", "--grammar", ""},
      {"generate", "-p", "a", "--assistant-model", ""},
      {"generate", "-f", ""},
      {"forward", "--inputs", "", "--outputs", "x"},
      {"forward", "--inputs", "x", "--outputs", ""},
      {"info", "-m", ""},
      {"bench", "-m", ""},
      {"tokenize", "-m", ""},
      {"perplexity", ""},
      {"perplexity", "-f", ""},
      {"attention", "-f", ""},
      {"chat", "--chat-template", ""},
      {"apply-chat-template", "--chat-template", ""},
      {"convert", "", "x.gguf"},
      {"convert", kCausal, ""},
      {"convert", "--merge-adapter", "", kCausal, "x.gguf"},
      {"quantize", "", "x.gguf", "Q8_0"},
      {"quantize", kCausal, "", "Q8_0"},
      {"classify", "-f", ""},
      {"evaluate", ""},
      {"evaluate", "--predictions", ""},
      {"train", ""},
      {"train", "--tensorboard", ""},
      {"tokenizer", "train", "", "-o", "x"},
      {"tokenizer", "train", "x", "-o", ""},
  };
  for (const Arguments& arguments : with_empty_paths) {
    SCOPED_TRACE(testing::PrintToString(arguments));
    expect_failure(run_program(arguments), 2,
                   HasSubstr("expected the name of a file or directory, got an empty one"));
  }
}

TEST(CommandLine, ResumingNeedsADirectory) {
  expect_failure(run_program({"train", "--resume"}), 1, HasSubstr("recipe: model: expected"));
  expect_failure(run_program({"train", "--resume", "-m", kCausal, "--set", "data.kind=text",
                              "--set", "data.train=x.txt"}),
                 1, HasSubstr("checkpoints.output_dir: expected a directory, got none"));
}

TEST(CommandLine, GradientsNeedLabels) {
  const Scratch scratch;
  const std::string outputs = scratch.path() / "outputs.safetensors";
  expect_failure(run_program(forward(kCausal, outputs) + Arguments{"--gradients"}), 1,
                 HasSubstr("[labels] expected labels for a loss, got none"));
  EXPECT_FALSE(fs::exists(outputs));
}

TEST(CommandLine, AnErrorIsOneLineWhateverTheArgument) {
  expect_failure(run_program({"tokenize", "--two\nlines"}), 2, HasSubstr("--two"));
  expect_failure(run_program({"tokenize", "-m", "/no\nsuch\rmodel"}), 1, HasSubstr("model"));
}

TEST(Environment, ModelFromTheVariable) {
  const Surroundings golden{.input = "To be", .variables = {{"DIFFLLAMA_MODEL", kTiny}}};
  const Result result = run_program({"tokenize", "--json"}, golden);
  expect_success(result);
  EXPECT_EQ(result.out, run_program({"tokenize", "-m", kTiny, "--json"}, {.input = "To be"}).out);
  expect_failure(run_program({"tokenize"}, {.variables = {{"DIFFLLAMA_MODEL", "/no/such/model"}}}),
                 1, HasSubstr("/no/such/model"));
  // -m is stronger, and an empty variable is none.
  expect_success(run_program({"tokenize", "-m", kTiny},
                             {.variables = {{"DIFFLLAMA_MODEL", "/no/such/model"}}}));
  expect_success(run_program({"tokenize"}, {.variables = {{"DIFFLLAMA_MODEL", ""}}}));
}

TEST(Environment, IsaFromTheVariable) {
  const Scratch scratch;
  const std::string outputs = scratch.path() / "outputs.safetensors";
  expect_success(
      run_program(forward(kCausal, outputs), {.variables = {{"DIFFLLAMA_ISA", "portable"}}}));
  fs::remove(outputs);
  expect_failure(
      run_program(forward(kCausal, outputs), {.variables = {{"DIFFLLAMA_ISA", "avx1024"}}}), 1,
      AllOf(HasSubstr("DIFFLLAMA_ISA"), HasSubstr("portable"), HasSubstr("avx1024")));
  EXPECT_FALSE(fs::exists(outputs));
}

void expect_no_crash(const Result& result) {
  if (result.status == 1) {
    EXPECT_THAT(result.err, HasSubstr("error: "));
  } else {
    EXPECT_THAT(result.status, testing::AnyOf(0, -SIGPIPE)) << result.err;
  }
}

const Arguments kEncode = {"tokenize", "-m", kTiny, "--json"};

TEST(Output, FullDiskIsAnError) {
  expect_failure(run_program(kEncode, {.input = "a", .output = "/dev/full"}), 1,
                 HasSubstr("standard output"));
  for (const Arguments& arguments : std::vector<Arguments>{
           {"info", "-m", kTiny}, {"generate", "-m", kTiny, "-t", "1", "-p", "To be"}}) {
    const Result result = run_program(arguments, {.output = "/dev/full"});
    EXPECT_EQ(result.status, 1) << arguments[0];
    EXPECT_THAT(result.err, HasSubstr("standard output")) << arguments[0];
  }
  expect_failure(run_program({"--help"}, {.output = "/dev/full"}), 1, HasSubstr("standard output"));
}

TEST(Output, ClosedOutputIsAnError) {
  expect_failure(run_program(kEncode, {.input = "a", .output_is_closed = true}), 1,
                 HasSubstr("standard output"));
}

TEST(Output, ReaderThatLeavesDoesNotCrash) {
  expect_no_crash(
      run_program({"generate", "-m", kTiny, "-t", "1", "-p", "To be"}, {.reader_is_gone = true}));
  expect_no_crash(run_program({"info", "-m", kTiny}, {.reader_is_gone = true}));
  const std::string much(1 << 20, 'a');
  expect_no_crash(run_program(kEncode, {.input = much, .reader_is_gone = true}));
}

// What is written must not end in a stream's place, nor a stream in what is written.
TEST(Output, ClosedStreamsDoNotReachTheFilesThatAreWritten) {
  const Scratch scratch;
  const std::string whole = scratch.path() / "whole.gguf";
  expect_success(run_program({"convert", kTiny, whole}));
  const std::string silent = scratch.path() / "silent.gguf";
  const Result result =
      run_program({"convert", kTiny, silent},
                  {.input_is_closed = true, .output_is_closed = true, .errors_are_closed = true});
  EXPECT_NE(result.status, 2);
  EXPECT_TRUE(!fs::exists(silent) || read_file(silent) == read_file(whole));
}

TEST(Input, WhatCannotBeReadIsAnError) {
  for (const Arguments& arguments :
       std::vector<Arguments>{{"generate", "-m", kTiny, "-t", "1", "--max-new-tokens", "1"},
                              {"tokenize", "-m", kTiny},
                              {"tokenize", "-m", kTiny, "--decode"}}) {
    SCOPED_TRACE(testing::PrintToString(arguments));
    expect_failure(run_program(arguments, {.input_is_closed = true}), 1,
                   HasSubstr("standard input: cannot read: Bad file descriptor"));
    expect_failure(run_program(arguments, {.input_path = "/"}), 1,
                   HasSubstr("standard input: cannot read: Is a directory"));
  }
  expect_failure(run_program({"generate", "-m", kTiny, "-f", "/"}), 1,
                 HasSubstr("/: expected a file, got a directory"));
}

/// A model whose file `name` is a pipe that nobody writes to.
std::string model_with_pipe(const Scratch& scratch, const std::string& name) {
  const fs::path model = scratch.path() / ("with " + name);
  fs::create_directory(model);
  for (const auto& entry : fs::directory_iterator(kTiny)) {
    if (entry.path().filename() != name) {
      fs::create_symlink(entry.path(), model / entry.path().filename());
    }
  }
  EXPECT_EQ(mkfifo((model / name).c_str(), 0600), 0);
  return model;
}

TEST(Input, APipeInAModelsPlaceIsRefused) {
  const Scratch scratch;
  for (const char* name :
       {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
        "special_tokens_map.json", "model.safetensors"}) {
    SCOPED_TRACE(name);
    const std::string model = model_with_pipe(scratch, name);
    expect_failure(run_program({"generate", "-m", model, "-t", "1", "-p", "a"}), 1,
                   HasSubstr(std::string(name) + ": expected a file, got a pipe"));
    expect_failure(run_program({"convert", model, scratch.path() / "out.gguf"}), 1,
                   HasSubstr(std::string(name) + ": expected a file, got a pipe"));
  }
  const std::string pipe = scratch.path() / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  expect_failure(run_program({"perplexity", "-m", kTiny, "-t", "1", pipe}), 1,
                 HasSubstr("pipe: expected a file, got a pipe"));
  expect_failure(run_program({"tokenize", "-m", pipe}), 1, HasSubstr("got a pipe"));
  expect_failure(run_program({"info", "-m", pipe}), 1, HasSubstr("got a pipe"));
}

MATCHER(IsHarmless, "") {
  return std::ranges::none_of(arg,
                              [](char c) { return (c >= 0 && c < ' ' && c != '\n') || c == 0x7f; });
}

TEST(Messages, ControlCharactersOfAFileDoNotReachTheTerminal) {
  const Scratch scratch;
  const fs::path model = scratch.path() / "model";
  fs::create_directory(model);
  for (const auto& entry : fs::directory_iterator(kCausal)) {
    if (entry.is_regular_file()) fs::copy(entry.path(), model);
  }
  std::string config = read_file(model / "config.json");
  config.insert(config.find('{') + 1, R"("hidden_act\u001b[2J\u009b\u202e": 1, )");
  scratch.file("model/config.json", config);
  scratch.file("model/generation_config.json", R"({"penalty_alpha": "\u001b[2J"})");
  for (const Arguments& arguments :
       std::vector<Arguments>{{"info", "-m", model},
                              {"generate", "-m", model, "-t", "1", "--input-ids", "[[1]]"},
                              {"info", "-m", "/no\x1b[2Jsuch\u009b"},
                              {"tokenize", "--two\x1b[2J"}}) {
    const Result result = run_program(arguments);
    EXPECT_THAT(result.err, IsHarmless());
    EXPECT_THAT(result.err, testing::Not(HasSubstr("\u009b")));
    EXPECT_THAT(result.err, testing::Not(HasSubstr("\u202e")));
  }
}

TEST(Messages, AreBounded) {
  const std::string ids(100'000, '[');
  std::string spaced;
  for (int i = 0; i < 30'000; ++i) spaced += "x, ";
  for (const Arguments& arguments :
       std::vector<Arguments>{{"generate", "-m", kTiny, "--input-ids", ids},
                              {"generate", "-m", kTiny, "--input-ids", spaced},
                              {"generate", "-m", kTiny, "-p", "a", "--seed", spaced},
                              {"generate", "-m", kTiny, "-p", "a", "--top-k", spaced},
                              {"quantize", kTiny, "out.gguf", spaced},
                              {"tokenize", "--" + spaced}}) {
    const Result result = run_program(arguments);
    EXPECT_EQ(result.status, 2);
    EXPECT_LE(result.err.size(), 1200U) << arguments[0];
  }
}

}  // namespace
}  // namespace diffllama::cli_test
