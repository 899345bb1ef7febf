// What each command reads and writes.

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
using testing::AllOf;
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

TEST(Generate, WritesAnObjectALine) {
  const Result result = run_program(
      kGenerate + Arguments{"--json", "-p", "To be, or not to be", "-p", "The end", "-p", "\"\n"});
  expect_success(result);
  std::istringstream lines(result.out);
  std::string line;
  int count = 0;
  while (std::getline(lines, line)) {
    const json object = json::parse(line);
    EXPECT_EQ(object.at("index"), count++);
    EXPECT_TRUE(object.at("text").is_string());
    EXPECT_THAT(object.at("stop_reason"), testing::AnyOf("eos", "length", "stop_string"));
    EXPECT_TRUE(object.at("timings").is_object());
    const auto ids = object.at("ids").get<std::vector<std::int64_t>>();
    EXPECT_EQ(ids.size() == 12, object.at("stop_reason") == "length") << line;
    const Result decoded = run_program({"tokenize", "-m", kTiny, "--decode", "--skip-special"},
                                       {.input = object.at("ids").dump()});
    EXPECT_EQ(decoded.out, object.at("text").get<std::string>());
  }
  EXPECT_EQ(count, 3);
}

TEST(Generate, TakesIdsWithoutATokenizer) {
  const Arguments arguments = {"generate",         "-m", kCausal,        "-t",     "1",
                               "--max-new-tokens", "3",  "--ignore-eos", "--json", "--input-ids"};
  const Result result = run_program(arguments + Arguments{"[[5,9,11],[7]]"});
  expect_success(result);
  std::istringstream lines(result.out);
  std::string line;
  for (int index = 0; index < 2; ++index) {
    ASSERT_TRUE(std::getline(lines, line));
    EXPECT_EQ(json::parse(line).at("ids").size(), 3);
    EXPECT_EQ(json::parse(line).at("index"), index);
  }
  for (const char* ids : {"", "[]", "[1]", "[[1.5]]", "[[\"1\"]]", "[[1]", "x", "[[1e30]]",
                          "[[99999999999999999999]]"}) {
    SCOPED_TRACE(ids);
    expect_failure(run_program(arguments + Arguments{ids}), 2, HasSubstr("--input-ids"));
  }
}

TEST(Generate, AnAdapterChangesTheModel) {
  const Arguments arguments = {
      "generate",    "-m",         kCausal,        "-t",     "1",
      "--input-ids", "[[5,9,11]]", "--ignore-eos", "--json", "--max-new-tokens",
      "16"};
  const auto ids = [](const Result& result) {
    expect_success(result);
    return json::parse(result.out).at("ids");
  };
  const fs::path adapter = kAdapters / "causal_all_linear";
  EXPECT_NE(ids(run_program(arguments + Arguments{"--adapter", adapter})),
            ids(run_program(arguments)));
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

TEST(Generate, OptionsOutOfRangeAreNamed) {
  for (const Arguments& wrong : std::vector<Arguments>{{"--temperature", "-1"},
                                                       {"--temperature", "nan"},
                                                       {"--top-p", "1.5"},
                                                       {"--min-p", "-0.1"},
                                                       {"--top-k", "-2"},
                                                       {"--repetition-penalty", "0"},
                                                       {"--no-repeat-ngram-size", "-1"},
                                                       {"--max-new-tokens", "-1"},
                                                       {"--max-new-tokens", "1e99"},
                                                       {"--num-return-sequences", "0"},
                                                       {"--seed", "-1"},
                                                       {"--stop", ""}}) {
    SCOPED_TRACE(wrong[0] + " " + wrong[1]);
    std::string name = wrong[0].substr(2);  // or as GenerationConfig has it, with underscores
    std::ranges::replace(name, '-', '.');
    expect_failure(run_program(kGenerate + Arguments{"-p", "a"} + wrong), 2,
                   testing::ContainsRegex(name));
  }
  expect_failure(run_program(kGenerate + Arguments{"-p", "a", "--input-ids", "[[1]]"}), 2,
                 HasSubstr("--input-ids"));
  expect_failure(run_program(kGenerate + Arguments{"-f", "/no/such/file"}), 1,
                 HasSubstr("/no/such/file"));
}

TEST(Generate, AHeadThatCannotIsRefused) {
  const std::string model = kGoldens / "diffllama_token";
  const Result result = run_program({"generate", "-m", model, "--input-ids", "[[1]]", "-t", "1"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_THAT(result.err, HasSubstr("error: [generate] expected a causal LM"));
}

TEST(Info, TellsWhatAModelIs) {
  const Result text = run_program({"info", "-m", kTiny});
  expect_success(text);
  EXPECT_THAT(text.out, AllOf(HasSubstr("DiffLlamaForCausalLM"), HasSubstr("5476352")));
  const json object = json::parse(run_program({"info", "-m", kTiny, "--json"}).out);
  EXPECT_EQ(object.at("architecture"), "DiffLlamaForCausalLM");
  EXPECT_EQ(object.at("parameters"), 5476352);
}

// The second model has no tokenizer.
TEST(Bench, ListsPromptAndGenerationOfEachModel) {
  const Result result = run_program(
      {"bench", "-m", kTiny, "-m", kCausal, "-p", "7", "-n", "3", "-r", "2", "-t", "1", "--json"});
  expect_success(result);
  const json list = json::parse(result.out);
  ASSERT_EQ(list.size(), 4U);
  for (std::size_t i = 0; i < list.size(); ++i) {
    EXPECT_EQ(list[i].at("model"), i < 2 ? kTiny : kCausal);
    EXPECT_EQ(list[i].at("n_prompt"), i % 2 == 0 ? 7 : 0);
    EXPECT_EQ(list[i].at("n_gen"), i % 2 == 0 ? 0 : 3);
    EXPECT_EQ(list[i].at("n_depth"), 0);
    EXPECT_EQ(list[i].at("samples_ts").size(), 2U);
    EXPECT_GT(list[i].at("avg_ts"), 0);
    EXPECT_GE(list[i].at("stddev_ts"), 0);
  }
}

TEST(Bench, LeavesOutWhatIsZero) {
  const Arguments bench = {"bench", "-m", kCausal, "-t", "1", "-r", "1", "-d", "9"};
  const json prompt = json::parse(run_program(bench + Arguments{"-n", "0", "--json"}).out);
  ASSERT_EQ(prompt.size(), 1U);
  EXPECT_EQ(prompt[0].at("n_prompt"), 512);
  EXPECT_EQ(prompt[0].at("n_depth"), 9);
  const Result table = run_program(bench + Arguments{"-p", "0", "-n", "2"});
  expect_success(table);
  EXPECT_THAT(table.out,
              AllOf(HasSubstr("generate 2 at depth 9"), testing::Not(HasSubstr("prompt"))));
  expect_failure(run_program(bench + Arguments{"-p", "0", "-n", "0"}), 2, HasSubstr("-p or -n"));

  const Arguments together = {"bench", "-m", kCausal, "-t", "1", "-r", "1", "--parallel", "1,4"};
  const json counts =
      json::parse(run_program(together + Arguments{"-p", "6", "-n", "3", "--json"}).out);
  ASSERT_EQ(counts.size(), 2U);
  EXPECT_EQ(counts[1]["n_parallel"], 4);
  EXPECT_EQ(counts[1]["n_prompt"], 6);
  EXPECT_EQ(counts[1]["n_gen"], 3);
  EXPECT_GT(counts[1]["prompt_ts"], 0);
  EXPECT_GT(counts[1]["decode_ts"], 0);
  EXPECT_THAT(run_program(together + Arguments{"-p", "6", "-n", "3"}).out,
              HasSubstr("4 x (prompt 6, generate 3)"));
  expect_failure(run_program(together + Arguments{"-p", "0"}), 2, HasSubstr("-p above 0"));
}

TEST(Perplexity, MeasuresDocuments) {
  const Scratch scratch;
  const std::string file = scratch.file(
      "documents.jsonl", "{\"text\": \"To be, or not to be.\"}\n\n{\"text\": \"The end.\"}\n");
  const Result result = run_program({"perplexity", "-m", kTiny, "-t", "1", "--json", file});
  expect_success(result);
  const json object = json::parse(result.out);
  EXPECT_EQ(object.at("documents"), 2);
  EXPECT_GT(object.at("perplexity"), 1);
}

TEST(Perplexity, ReadsTextAsTrainingDoes) {
  const Scratch scratch;
  const auto measured = [&](const char* name, const char* text) {
    const Result result =
        run_program({"perplexity", "-m", kTiny, "-t", "1", "--json", scratch.file(name, text)});
    expect_success(result);
    return result.out;
  };
  EXPECT_EQ(measured("one.txt", "To be, or not to be.\nThe end.\n"),
            measured("one.jsonl", "{\"text\": \"To be, or not to be.\\nThe end.\\n\"}\n"));
}

TEST(Perplexity, LinesItCannotReadAreNamed) {
  const Scratch scratch;
  for (const char* line : {"text", "[]", "{}", R"({"text": 1})", R"({"text": "a")"}) {
    SCOPED_TRACE(line);
    const std::string file =
        scratch.file("documents.jsonl", std::string("{\"text\": \"a b\"}\n") + line + "\n");
    expect_failure(run_program({"perplexity", "-m", kTiny, "-t", "1", file}), 1,
                   HasSubstr("documents.jsonl:2: expected"));
  }
  expect_failure(run_program({"perplexity", "-m", kTiny, "/no/such/file"}), 1,
                 HasSubstr("/no/such/file"));
}

}  // namespace
}  // namespace diffllama::cli_test
