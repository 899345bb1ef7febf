#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/test_command.h"
#include "diffllama/error.h"

namespace diffllama::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

TEST(PerplexityCommand, CountsDocumentsAndTokens) {
  const Folder folder;
  const std::string file = folder.write(
      "two.jsonl", "{\"text\": \"To be, or not to be\"}\n\n{\"text\": \"KING\", \"id\": 3}\r\n");
  const json result = json::parse(run({"perplexity", "-m", kTiny, file, "--json"}).text);
  EXPECT_EQ(result["documents"], 2);
  EXPECT_EQ(result["tokens"], golden("plain")["prompt_ids"].size() - 1 + 1);
  EXPECT_NEAR(result["perplexity"].get<double>(),
              std::exp(result["negative_log_likelihood"].get<double>()), 1e-6);
  EXPECT_THAT(run({"perplexity", "-m", kTiny, file}).text,
              AllOf(HasSubstr("perplexity "), HasSubstr("\ndocuments 2\n")));
}

TEST(PerplexityCommand, NamesTheLineThatIsWrong) {
  const Folder folder;
  const auto expect = [&](const std::string& text, const std::string& message) {
    const std::string file = folder.write("bad.jsonl", text);
    EXPECT_THAT(
        [&] {
          run({"perplexity", "-m", kTiny, file});
        },
        ThrowsMessage<Error>(HasSubstr(message)));
  };
  expect("{\"text\": \"a b\"}\n[1]\n", "bad.jsonl:2: expected an object, got [1]");
  expect("{\"text\": 7}", "bad.jsonl:1: expected an object with a string \"text\"");
  expect("{\"text\"", "bad.jsonl:1: expected JSON");
  expect("text", "bad.jsonl:1: expected JSON");
  expect("", "expected a document");
  const fs::path empty = folder / "empty";
  fs::create_directory(empty);
  EXPECT_THAT(
      [&] {
        run({"perplexity", "-m", kTiny, empty.string()});
      },
      ThrowsMessage<IoError>(HasSubstr("expected .txt, .jsonl, .ndjson or .json files, got none")));
}

TEST(InfoCommand, TellsWhatAModelIs) {
  const json info = json::parse(run({"info", "-m", kTiny, "--json"}).text);
  EXPECT_EQ(info["architecture"], "DiffLlamaForCausalLM");
  EXPECT_EQ(info["parameters"], 5476352);
  EXPECT_EQ(info["bytes"], 2 * 5476352);
  EXPECT_EQ(info["storage"]["bfloat16"]["tensors"], 80);
  EXPECT_EQ(info["compute"], "bfloat16");
  EXPECT_EQ(info["kv_bytes_per_token"], 2 * 6 * 4 * 32 * 2);
  EXPECT_EQ(info["tokenizer"]["vocab_size"], 4096);
  EXPECT_EQ(info["config"]["hidden_size"], 256);
  EXPECT_THAT(run({"info", "-m", kTiny}).text,
              AllOf(HasSubstr("5476352"), HasSubstr("\"hidden_size\": 256")));
}

TEST(PerplexityCommand, ReadsTextAsTrainingDoes) {
  const Folder folder;
  const auto measured = [&](const char* name, const char* text) {
    return run({"perplexity", "-m", kTiny, "--json", folder.write(name, text)}).text;
  };
  EXPECT_EQ(measured("one.txt", "To be, or not to be.\nThe end.\n"),
            measured("one.jsonl", "{\"text\": \"To be, or not to be.\\nThe end.\\n\"}\n"));
}

std::vector<std::string> with(std::vector<std::string> arguments,
                              const std::vector<std::string>& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

// The second model has no tokenizer.
TEST(BenchCommand, ListsPromptAndGenerationOfEachModel) {
  const json list = json::parse(
      run({"bench", "-m", kTiny, "-m", kCausal, "-p", "7", "-n", "3", "-r", "2", "--json"}).text);
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

TEST(BenchCommand, LeavesOutWhatIsZero) {
  const std::vector<std::string> bench = {"bench", "-m", kCausal, "-r", "1", "-d", "9"};
  const json prompt = json::parse(run(with(bench, {"-n", "0", "--json"})).text);
  ASSERT_EQ(prompt.size(), 1U);
  EXPECT_EQ(prompt[0].at("n_prompt"), 512);
  EXPECT_EQ(prompt[0].at("n_depth"), 9);
  EXPECT_THAT(run(with(bench, {"-p", "0", "-n", "2"})).text,
              AllOf(HasSubstr("generate 2 at depth 9"), Not(HasSubstr("prompt"))));
  EXPECT_THAT(
      [&] {
        run(with(bench, {"-p", "0", "-n", "0"}));
      },
      ThrowsMessage<CLI::ParseError>(HasSubstr("-p or -n")));
}

TEST(BenchCommand, TimesRequestsTogether) {
  const std::vector<std::string> together = {"bench", "-m",         kCausal, "-r",
                                             "1",     "--parallel", "1,4"};
  const json counts = json::parse(run(with(together, {"-p", "6", "-n", "3", "--json"})).text);
  ASSERT_EQ(counts.size(), 2U);
  EXPECT_EQ(counts[1]["n_parallel"], 4);
  EXPECT_EQ(counts[1]["n_prompt"], 6);
  EXPECT_EQ(counts[1]["n_gen"], 3);
  EXPECT_GT(counts[1]["prompt_ts"], 0);
  EXPECT_GT(counts[1]["decode_ts"], 0);
  EXPECT_THAT(run(with(together, {"-p", "6", "-n", "3"})).text,
              HasSubstr("4 x (prompt 6, generate 3)"));
  for (const char* zero : {"-p", "-n"}) {
    EXPECT_THAT(
        [&] {
          run(with(together, {zero, "0"}));
        },
        ThrowsMessage<CLI::ParseError>(HasSubstr("-p above 0 and one -n above 0")));
  }
}

}  // namespace
}  // namespace diffllama::cli
