// What the commands take from files and standard input, and write there; what they make of it is in
// src/cli.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "checkpoint/safetensors/safetensors.h"
#include "cli/expectations.h"
#include "diffllama/tensor.h"

namespace diffllama::cli_test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

using nlohmann::json;

/// A file of one tensor.
std::string write_inputs(const Scratch& scratch, const std::string& name,
                         const std::vector<std::int64_t>& ids) {
  std::string path = scratch.path() / (name + std::to_string(ids.back()) + ".safetensors");
  const Tensor tensor = Tensor::from(ids, {1, static_cast<std::int64_t>(ids.size())});
  write_safetensors(path, {copied_tensor(name, tensor.view())});
  return path;
}

TEST(Forward, WritesWhatWasAskedFor) {
  const Scratch scratch;
  const std::string outputs = scratch.path() / "outputs.safetensors";
  const Result result =
      run_program(forward(kCausal, outputs) + Arguments{"--hidden-states", "--attentions"});
  expect_success(result);
  EXPECT_THAT(result.out, IsEmpty());
  std::vector<std::string> names;
  const SafetensorsFile file(outputs);
  for (const auto& [name, view] : file.tensors()) names.push_back(name);
  EXPECT_THAT(names,
              testing::UnorderedElementsAre("logits", "hidden_states.0", "hidden_states.1",
                                            "hidden_states.2", "attentions.0", "attentions.1"));
}

TEST(Forward, InputsItCannotUseAreNamed) {
  const Scratch scratch;
  const std::string outputs = scratch.path() / "outputs.safetensors";
  const struct {
    std::string inputs;
    const char* named;
  } wrong[] = {
      {"/no/such/inputs", "/no/such/inputs"},
      {scratch.file("short", "abc"), "short"},
      {write_inputs(scratch, "token_type_ids", {1, 2}), "token_type_ids"},
      {write_inputs(scratch, "attention_mask", {1, 1}), "input_ids"},
      {write_inputs(scratch, "input_ids", {1, 56}), "got 56"},
      {write_inputs(scratch, "input_ids", {1, -1}), "got -1"},
  };
  for (const auto& [inputs, named] : wrong) {
    SCOPED_TRACE(inputs);
    expect_failure(run_program(forward(kCausal, outputs, inputs)), 1, HasSubstr(named));
    EXPECT_FALSE(fs::exists(outputs));
  }
}

TEST(Forward, OutputsItCannotWriteAreNamed) {
  for (const char* outputs : {"/no/such/folder/outputs.safetensors", "/dev/full", "/"}) {
    SCOPED_TRACE(outputs);
    expect_failure(run_program(forward(kCausal, outputs)), 1, HasSubstr(outputs));
  }
}

TEST(Forward, AFailureLeavesTheOldOutputs) {
  const Scratch scratch;
  const std::string outputs = scratch.file("outputs.safetensors", "old");
  const std::string inputs = write_inputs(scratch, "input_ids", {1, 56});
  EXPECT_EQ(run_program(forward(kCausal, outputs, inputs)).status, 1);
  EXPECT_EQ(read_file(outputs), "old");
}

/// A model of its own in a folder: `model`, and what every writing command could destroy of it.
std::string copy_model(const Scratch& scratch) {
  const fs::path model = scratch.path() / "model";
  fs::create_directory(model);
  for (const auto& entry : fs::directory_iterator(kTiny)) {
    if (entry.is_regular_file()) fs::copy(entry.path(), model);
  }
  return model;
}

TEST(Overwriting, NoCommandWritesOverWhatItReads) {
  const Scratch scratch;
  const std::string model = copy_model(scratch);
  const std::string file = scratch.path() / "model.gguf";
  expect_success(run_program({"convert", model, file}));
  const std::string inputs = write_inputs(scratch, "input_ids", {1, 2});
  fs::create_symlink(file, scratch.path() / "link.gguf");
  fs::create_hard_link(file, scratch.path() / "hard.gguf");
  fs::create_directory_symlink(model, scratch.path() / "directory");
  fs::create_symlink(fs::path(model) / "model.safetensors", scratch.path() / "weights.gguf");
  const auto forward_to = [&](const std::string& of, const std::string& outputs) {
    return forward(of, outputs, inputs);
  };
  const std::string above = scratch.path() / "model/../";
  const std::vector<Arguments> commands = {
      forward_to(model, inputs),
      forward_to(model, above + fs::path(inputs).filename().string()),
      forward_to(model, model + "/model.safetensors"),
      forward_to(model, model + "/config.json"),
      forward_to(model, scratch.path() / "directory/tokenizer.json"),
      forward_to(scratch.path() / "directory", model + "/model.safetensors"),
      forward_to(file, file),
      forward_to(file, scratch.path() / "link.gguf"),
      forward_to(file, scratch.path() / "hard.gguf"),
      {"convert", model, scratch.path() / "weights.gguf"},
      {"convert", file, file},
      {"quantize", file, scratch.path() / "link.gguf", "Q8_0"},
      {"quantize", scratch.path() / "link.gguf", file, "Q8_0"},
      {"quantize", model, scratch.path() / "weights.gguf", "Q8_0"},
  };
  const auto contents = [&] {
    std::map<std::string, std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(scratch.path())) {
      if (entry.is_regular_file()) all[entry.path()] = read_file(entry.path());
    }
    return all;
  };
  const auto before = contents();
  for (const Arguments& arguments : commands) {
    SCOPED_TRACE(testing::PrintToString(arguments));
    expect_failure(run_program(arguments), 1, HasSubstr("expected another path than what is read"));
    EXPECT_TRUE(contents() == before);
  }
}

TEST(Overwriting, WhatIsNotReadMayBeReplaced) {
  const Scratch scratch;
  const std::string model = copy_model(scratch);
  const std::string outputs = model + "/outputs.safetensors";
  const std::string inputs = write_inputs(scratch, "input_ids", {1, 2});
  for (int i = 0; i < 2; ++i) {
    expect_success(run_program(forward(model, outputs, inputs)));
    expect_success(run_program({"quantize", model, model + "/small.gguf", "Q8_0"}));
  }
}

TEST(Tokenize, GivesBackEveryText) {
  for (const std::string& text :
       {std::string(), std::string("To be, or not to be"), std::string("two\nlines\r\n\n"),
        std::string("  spaces \t "), std::string("naïve Ωmega 東京 🙂"),
        std::string(1, '\0') + "a"}) {
    SCOPED_TRACE(text);
    const Result ids =
        run_program({"tokenize", "-m", kTiny, "--json", "--no-special"}, {.input = text});
    expect_success(ids);
    const json encoded = json::parse(ids.out);
    const Result back =
        run_program({"tokenize", "-m", kTiny, "--decode"}, {.input = encoded.at("ids").dump()});
    expect_success(back);
    EXPECT_EQ(back.out, text);
  }
}

TEST(Tokenize, BytesThatAreNotUtf8BecomeReplacementCharacters) {
  const Result ids =
      run_program({"tokenize", "-m", kTiny, "--json", "--no-special"}, {.input = "a\xff\xfe"
                                                                                 "b\xc3"});
  expect_success(ids);
  const Result back = run_program({"tokenize", "-m", kTiny, "--decode"},
                                  {.input = json::parse(ids.out).at("ids").dump()});
  EXPECT_EQ(back.out, "a\uFFFD\uFFFDb\uFFFD");
}

TEST(Tokenize, IdsItCannotDecodeAreNamed) {
  const struct {
    const char* input;
    const char* named;
  } wrong[] = {{"", "stdin"},
               {"{}", "list of token ids"},
               {"[1, \"2\"]", "list of token ids"},
               {"[1.5]", "1.5"},
               {"[4096]", "4096"},
               {"[-1]", "-1"},
               {"[1", "stdin"},
               {"[99999999999999999999]", "list of token ids"}};
  for (const auto& [input, named] : wrong) {
    SCOPED_TRACE(input);
    expect_failure(run_program({"tokenize", "-m", kTiny, "--decode"}, {.input = input}), 1,
                   HasSubstr(named));
  }
}

const Arguments kGenerate = {"generate", "-m", kTiny, "-t", "1", "--max-new-tokens", "12"};

TEST(Generate, PromptsComeFromArgumentsFilesAndStandardInput) {
  const Scratch scratch;
  const std::string prompt = "To be, or not to be";
  const Result argument = run_program(kGenerate + Arguments{"-p", prompt});
  expect_success(argument);
  EXPECT_THAT(argument.out, testing::StartsWith(" a prophet, or to the house of Israel,"));
  for (const char* end : {"", "\n"}) {  // one last newline is not part of the prompt
    const std::string file = scratch.file("prompt", prompt + end);
    EXPECT_EQ(run_program(kGenerate + Arguments{"-f", file}).out, argument.out);
    EXPECT_EQ(run_program(kGenerate, {.input = prompt + end}).out, argument.out);
  }
}

TEST(Forward, AnAdapterThatDoesNotFitIsNamed) {
  const Scratch scratch;
  const std::string outputs = scratch.path() / "outputs.safetensors";
  const auto run = [&](const fs::path& adapter) {
    return run_program(forward(kCausal, outputs) + Arguments{"--adapter", adapter});
  };
  expect_failure(run_program(forward(kTiny, outputs) +
                             Arguments{"--adapter", kAdapters / "question_answering"}),
                 1,
                 HasSubstr("mis-shaped: base_model.model.transformer.layers.0.self_attn.v_proj"));
  expect_failure(run(kGoldens), 1, HasSubstr("adapter_config.json"));
  EXPECT_FALSE(fs::exists(outputs));
  expect_success(run(kAdapters / "question_answering"));  // which brings its head
}

}  // namespace
}  // namespace diffllama::cli_test
