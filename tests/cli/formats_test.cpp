// Forms of models and prompts that people have, as the commands meet them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "cli/expectations.h"

namespace diffllama::cli_test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

// The ids of a greedy continuation, and why it stopped.
json continuation(const std::string& model, const Arguments& more = {}) {
  const Result result =
      run_program(Arguments{"generate", "-t", "1", "--dtype", "float32", "--max-new-tokens", "6",
                            "--json", "-m", model} +
                  (more.empty() ? Arguments{"--input-ids", "[[1,916,300,14]]"} : more));
  expect_success(result);
  json line = json::parse(result.out);
  line.erase("timings");
  return line;
}

// The model that ships under another config, and other files beside it.
std::string tiny_with(const Scratch& scratch, const std::string& name, const json& changes) {
  const fs::path folder = scratch.path() / name;
  fs::create_directories(folder);
  for (const char* file : {"model.safetensors", "tokenizer.json", "tokenizer_config.json"}) {
    fs::create_symlink(fs::path(kTiny) / file, folder / file);
  }
  json config = json::parse(read_file(fs::path(kTiny) / "config.json"));
  config.update(changes);
  scratch.file(name + "/config.json", config.dump());
  return folder;
}

TEST(Formats, OneLastLineEndingOfAPromptIsLeftOut) {
  const Scratch scratch;
  const json right = continuation(kTiny, {"-p", "To be,"});
  for (const char* text : {"To be,", "To be,\n", "To be,\r\n"}) {
    EXPECT_EQ(continuation(kTiny, {"-f", scratch.file("p.txt", text)}), right) << text;
  }
  for (const std::string text : {"To be,\r", "To be,\n\n", "To be,\r\n\r\n", "\r\nTo be,"}) {
    const json kept = continuation(kTiny, {"-p", text.ends_with("\r\n") ? "To be,\r\n"
                                                 : text.ends_with('\n') ? "To be,\n"
                                                                        : text});
    EXPECT_EQ(continuation(kTiny, {"-f", scratch.file("p.txt", text)}), kept) << text;
  }
}

TEST(Formats, AModelInPartsIsTheModel) {
  const Scratch scratch;
  const std::string out = scratch.path() / "m.gguf";
  expect_success(run_program({"convert", "--split-max-size", "3M", kTiny, out}));
  EXPECT_FALSE(fs::exists(out));
  std::size_t parts = 0;
  for (const auto& entry : fs::directory_iterator(scratch.path())) {
    parts += entry.path().extension() == ".gguf" ? 1 : 0;
    EXPECT_LT(entry.file_size(), 4'000'000U);
  }
  ASSERT_GT(parts, 3U);
  const std::string first = scratch.path() / ("m-00001-of-0000" + std::to_string(parts) + ".gguf");
  EXPECT_EQ(continuation(first), continuation(kTiny));
  EXPECT_EQ(run_program({"tokenize", "-m", first}, {.input = "To be"}).out,
            run_program({"tokenize", "-m", kTiny}, {.input = "To be"}).out);
  const std::string last = scratch.path() / ("m-0000" + std::to_string(parts) + "-of-0000" +
                                             std::to_string(parts) + ".gguf");
  expect_failure(run_program({"info", "-m", last}), 1, HasSubstr("the first of the"));
  fs::remove(last);
  expect_failure(run_program({"tokenize", "-m", first}, {.input = "x"}), 1,
                 AllOf(HasSubstr("missing: "), HasSubstr(fs::path(last).filename().string())));
  for (const char* size : {"3", "3K", "0M", "-1M", "M", "1.5G", "99999999999G"}) {
    expect_failure(run_program({"convert", "--split-max-size", size, kTiny, out}), 2,
                   HasSubstr("--split-max-size"));
  }
}

TEST(Formats, EveryEndTokenEndsATextBehindConvertToo) {
  const Scratch scratch;
  const std::string plain = tiny_with(scratch, "plain", json::object());
  const std::int64_t third = continuation(plain).at("ids")[2];
  const std::string ended = tiny_with(scratch, "ended", {{"eos_token_id", {2, third}}});
  const json right = continuation(ended);
  EXPECT_EQ(right.at("stop_reason"), "eos");
  EXPECT_EQ(right.at("ids").size(), 3U);
  const std::string file = scratch.path() / "m.gguf";
  expect_success(run_program({"convert", ended, file}));
  EXPECT_EQ(continuation(file), right);
  expect_success(run_program({"convert", file, scratch.path() / "back"}));
  EXPECT_EQ(continuation(scratch.path() / "back"), right);
}

TEST(Formats, AModelInItsOnlySubFolderIsFound) {
  const Scratch scratch;
  fs::create_directory(scratch.path() / "model");
  tiny_with(scratch, "model/checkpoint-7", json::object());
  const std::string folder = scratch.path() / "model";
  EXPECT_EQ(continuation(folder), continuation(kTiny));
  EXPECT_EQ(continuation(folder + "/checkpoint-7"), continuation(kTiny));
  EXPECT_EQ(run_program({"tokenize", "-m", folder}, {.input = "To be"}).out,
            run_program({"tokenize", "-m", kTiny}, {.input = "To be"}).out);
  expect_success(run_program({"convert", folder, scratch.path() / "m.gguf"}));
  tiny_with(scratch, "model/checkpoint-9", json::object());
  for (const char* command : {"info", "tokenize"}) {
    expect_failure(run_program({command, "-m", folder}), 1,
                   AllOf(HasSubstr(folder + "/checkpoint-7"), HasSubstr("checkpoint-9")));
  }
}

TEST(Formats, AGitLfsPointerIsNamedAsSuch) {
  const Scratch scratch;
  const std::string pointer =
      "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4976698672\n";
  const std::string weights = tiny_with(scratch, "weights", json::object());
  fs::remove(weights + "/model.safetensors");
  scratch.file("weights/model.safetensors", pointer);
  const std::string tokenizer = tiny_with(scratch, "tokenizer", json::object());
  fs::remove(tokenizer + "/tokenizer.json");
  scratch.file("tokenizer/tokenizer.json", pointer);
  const std::string file = scratch.file("m.gguf", pointer);
  const std::string out = scratch.path() / "out.gguf";
  for (const auto& [model, name] :
       {std::pair{weights, "model.safetensors"}, std::pair{tokenizer, "tokenizer.json"},
        std::pair{file, "m.gguf"}}) {
    SCOPED_TRACE(name);
    const auto named = AllOf(HasSubstr(name), HasSubstr("Git LFS"));
    expect_failure(run_program({"generate", "-m", model, "-p", "x"}), 1, named);
    if (model != tokenizer) expect_failure(run_program({"info", "-m", model}), 1, named);
    if (model != weights) expect_failure(run_program({"tokenize", "-m", model}), 1, named);
    if (model != file) expect_failure(run_program({"convert", model, out}), 1, named);
    expect_failure(run_program({"quantize", model, out, "Q8_0"}), 1, named);
  }
  EXPECT_FALSE(fs::exists(out));
}

TEST(Formats, TrainRefusesALlamasAttentionDropout) {
  const Scratch scratch;
  const fs::path golden = kGoldens / "llama_causal";
  json config = json::parse(read_file(golden / "config.json"));
  config["attention_dropout"] = 0.1;
  scratch.file("config.json", config.dump());
  fs::create_symlink(golden / "model.safetensors", scratch.path() / "model.safetensors");
  fs::create_symlink(fs::path(kTiny) / "tokenizer.json", scratch.path() / "tokenizer.json");
  const std::string model = scratch.path();
  expect_success(run_program({"generate", "-m", model, "--input-ids", "[[1,2]]"}));
  const std::string text = scratch.file("text", "some text");
  const Result result =
      run_program({"train", "-m", model, "-o", scratch.path() / "out", "--set", "data.kind=text",
                   "--set", "data.train=" + text, "--set", "data.sequence_length=8", "--batch-size",
                   "1", "--max-steps", "1"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, HasSubstr("attention_dropout: expected 0"));
}

}  // namespace
}  // namespace diffllama::cli_test
