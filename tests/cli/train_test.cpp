// `diffllama train` as a process: killed, stopped, on a full disk, with broken files and numbers.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/expectations.h"

namespace diffllama::cli_test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

/// A new model of some 70,000 parameters on two documents of this repository, 12 steps.
class Train : public testing::Test {
 protected:
  Train() {
    const fs::path source = DIFFLLAMA_SOURCE_DIR;
    const nlohmann::json config = {{"model_type", "diffllama"},
                                   {"architectures", {"DiffLlamaForCausalLM"}},
                                   {"vocab_size", 4096},
                                   {"hidden_size", 16},
                                   {"intermediate_size", 32},
                                   {"num_hidden_layers", 2},
                                   {"num_attention_heads", 4},
                                   {"num_key_value_heads", 2},
                                   {"head_dim", 4},
                                   {"max_position_embeddings", 64},
                                   {"tie_word_embeddings", true},
                                   {"bos_token_id", 0},
                                   {"eos_token_id", 0}};
    const nlohmann::json recipe = {
        {"model", {{"config", config}, {"tokenizer", kTiny}}},
        {"data",
         {{"kind", "text"},
          {"train", source / "CONTRIBUTING.md"},
          {"valid", source / "LICENSE"},
          {"sequence_length", 32},
          {"shard_dir", scratch_.path() / "shards"}}},
        {"training", {{"max_steps", 12}, {"batch_size", 2}, {"gradient_accumulation_steps", 2}}},
        {"optimizer", {{"learning_rate", 0.01}, {"weight_decay", 0.1}}},
        {"schedule", {{"lr_scheduler_type", "cosine"}, {"warmup_steps", 3}}},
        {"evaluation", {{"eval_steps", 5}}},
        {"checkpoints", {{"save_steps", 3}}}};
    recipe_ = scratch_.file("recipe.json", recipe.dump());
  }

  fs::path output(const std::string& name) const { return scratch_.path() / name; }
  Arguments command(const std::string& name, const Arguments& more = {}) const {
    return Arguments{"train", recipe_, "-t", "1", "-o", output(name)} + more;
  }
  std::string weights(const std::string& name) const {
    return read_file(output(name) / "last" / "model.safetensors");
  }

  Scratch scratch_;
  std::string recipe_;
};

/// The program running beside this one.
class Running {
 public:
  /// `largest_file`: bytes that a file may have; 0: as many as it likes.
  explicit Running(const Arguments& arguments, const fs::path& errors, rlim_t largest_file = 0)
      : process_(fork()) {
    if (process_ == 0) become(arguments, errors, largest_file);
  }
  ~Running() {
    if (!ended_) end(SIGKILL);
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  /// Until that many steps are in metrics.jsonl, or the program has ended.
  void wait_for_steps(const fs::path& metrics, std::int64_t steps) {
    while (waitpid(process_, &status_, WNOHANG) == 0) {
      std::ifstream file(metrics);
      std::int64_t lines = 0;
      for (std::string line; std::getline(file, line);) {
        lines += line.find("\"learning_rate\"") != std::string::npos ? 1 : 0;
      }
      if (lines >= steps) return;
      usleep(1000);
    }
    ended_ = true;
  }
  /// Sends the signal (0: none) and gives the exit status, or minus the signal that ended it.
  int end(int signal) {
    if (!ended_ && signal != 0) kill(process_, signal);
    if (!ended_) waitpid(process_, &status_, 0);
    ended_ = true;
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : -WTERMSIG(status_);
  }

 private:
  [[noreturn]] static void become(const Arguments& arguments, const fs::path& errors,
                                  rlim_t largest_file) {
    std::vector<std::string> words{DIFFLLAMA_PROGRAM};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> pointers(words.size() + 1);  // ends with a null pointer
    std::ranges::transform(words, pointers.begin(), [](std::string& word) { return word.data(); });
    const int file = open(errors.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    dup2(file, STDERR_FILENO);
    if (largest_file != 0) {
      const rlimit limit = {largest_file, largest_file};
      setrlimit(RLIMIT_FSIZE, &limit);
      std::signal(SIGXFSZ, SIG_IGN);
    }
    execv(DIFFLLAMA_PROGRAM, pointers.data());
    _exit(127);
  }

  pid_t process_;
  int status_ = 0;
  bool ended_ = false;
};

TEST_F(Train, WritesWhatTheProgramReads) {
  expect_success(run_program(command("out")));
  for (const char* name : {"config.json", "model.safetensors", "optimizer.safetensors",
                           "tokenizer.json", "tokenizer_config.json", "trainer_state.json"}) {
    EXPECT_TRUE(fs::exists(output("out") / "last" / name)) << name;
  }
  EXPECT_EQ(read_file(output("out") / "last" / "tokenizer.json"),
            read_file(fs::path(kTiny) / "tokenizer.json"));
  expect_success(run_program(
      {"generate", "-m", output("out") / "best", "-p", "The", "--max-new-tokens", "2"}));
  // The effective recipe repeats the run.
  expect_success(run_program({"train", output("out") / "recipe.json", "-o", output("again")}));
  EXPECT_EQ(weights("again"), weights("out"));
}

TEST_F(Train, KilledAnywhereItResumesToTheSameBytes) {
  expect_success(run_program(command("whole")));
  for (std::int64_t steps = 0; steps <= 11; ++steps) {
    SCOPED_TRACE(steps);
    const std::string name = "killed" + std::to_string(steps);
    {
      Running running(command(name), scratch_.path() / "err");
      running.wait_for_steps(output(name) / "metrics.jsonl", steps);
      running.end(SIGKILL);
    }
    expect_success(run_program(command(name, {"--resume"})));
    EXPECT_EQ(weights(name), weights("whole"));
    EXPECT_EQ(read_file(output(name) / "last" / "optimizer.safetensors"),
              read_file(output("whole") / "last" / "optimizer.safetensors"));
  }
}

TEST_F(Train, AnAdapterResumesToTheSameBytesAndGenerates) {
  const auto arguments = [&](const std::string& name, const char* steps) {
    return Arguments{"train",
                     "-m",
                     kTiny,
                     "-o",
                     output(name),
                     "--set",
                     "data.kind=text",
                     "--set",
                     "data.train=" + std::string(DIFFLLAMA_SOURCE_DIR) + "/CONTRIBUTING.md",
                     "--set",
                     "data.sequence_length=32",
                     "--set",
                     "lora.r=2",
                     "--set",
                     "lora.lora_dropout=0.1",
                     "--batch-size",
                     "2",
                     "--max-steps",
                     steps};
  };
  const auto adapter = [&](const std::string& name) {
    return read_file(output(name) / "last" / "adapter_model.safetensors");
  };
  expect_success(run_program(arguments("whole", "6")));
  // The schedule follows from the number of steps: the run that is resumed must have the same one.
  expect_success(
      run_program(arguments("parts", "6") + Arguments{"--set", "checkpoints.save_steps=2", "--set",
                                                      "checkpoints.save_total_limit=0"}));
  fs::remove_all(output("parts") / "checkpoint-6");
  fs::remove_all(output("parts") / "checkpoint-4");
  expect_success(run_program(arguments("parts", "6") + Arguments{"--resume"}));
  EXPECT_EQ(adapter("whole"), adapter("parts"));
  EXPECT_FALSE(fs::exists(output("whole") / "last" / "model.safetensors"));
  expect_success(run_program({"generate", "-m", kTiny, "--adapter", output("whole") / "last", "-p",
                              "To be", "--max-new-tokens", "3"}));
}

// One small file of each kind that trains a head, to a checkpoint that opens with that head.
TEST_F(Train, TrainsEveryHead) {
  const std::string labelled = scratch_.file("labelled.jsonl", R"({"text": "To be", "label": "b"})"
                                                               "\n"
                                                               R"({"text": "or not", "label": "a"})"
                                                               "\n");
  const std::string squad = scratch_.file(
      "squad.json",
      R"({"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": "The king is here.",)"
      R"( "qas": [{"id": "1", "question": "Who?", "answers": [{"text": "king", "answer_start": 4}]}]}]}]})");
  const std::string words = scratch_.file("words.conllu",
                                          "1\tThe\tthe\tDET\t_\t_\t2\tdet\t_\t_\n"
                                          "2\tking\tking\tNOUN\t_\t_\t0\troot\t_\t_\n\n");
  const struct {
    const char* kind;
    std::string file;
    const char* head;
  } cases[] = {{"classification", labelled, "DiffLlamaForSequenceClassification"},
               {"squad", squad, "DiffLlamaForQuestionAnswering"},
               {"conllu", words, "DiffLlamaForTokenClassification"}};
  for (const auto& [kind, file, head] : cases) {
    SCOPED_TRACE(kind);
    expect_success(run_program(
        {"train", "-m", kTiny, "-o", output(kind), "--set", "data.kind=" + std::string(kind),
         "--set", "data.train=" + file, "--set", "data.valid=" + file, "--max-steps", "2",
         "--batch-size", "2", "--set", "data.sequence_length=32", "--set", "data.doc_stride=8"}));
    const Result info = run_program({"info", "-m", output(kind) / "last"});
    expect_success(info);
    EXPECT_THAT(info.out, HasSubstr(head));
  }
}

TEST_F(Train, SignalsSaveAndStop) {
  expect_success(run_program(command("whole")));
  for (const int signal : {SIGINT, SIGTERM}) {
    const std::string name = "stopped" + std::to_string(signal);
    // So long that the signal always comes first.
    Running running(command(name, {"--set", "checkpoints.save_steps=0"}), scratch_.path() / "err");
    running.wait_for_steps(output(name) / "metrics.jsonl", 2);
    const int status = running.end(signal);
    if (status != 0) {  // 0: it was done before the signal came
      EXPECT_EQ(status, 128 + signal);
      EXPECT_THAT(read_file(scratch_.path() / "err"),
                  AllOf(HasSubstr("stopped, saved "), HasSubstr("--resume goes on")));
    }
    expect_success(run_program(command(name, {"--resume"})));
    EXPECT_EQ(weights(name), weights("whole"));
  }
}

TEST_F(Train, FullDiskEndsTheRunWithTheLastCheckpointWhole) {
  expect_success(run_program(command("whole")));
  expect_success(run_program(command("full", {"--max-steps", "3"})));
  // Room for the model, not for the moments.
  const auto room = fs::file_size(output("full") / "last" / "model.safetensors") + 1000;
  Running running(command("full", {"--resume"}), scratch_.path() / "err", room);
  EXPECT_EQ(running.end(0), 1);
  EXPECT_THAT(read_file(scratch_.path() / "err"),
              HasSubstr("optimizer.safetensors: cannot write: File too large"));
  expect_success(run_program(command("full", {"--resume"})));
  EXPECT_TRUE(fs::exists(output("full") / "checkpoint-12"));
}

TEST_F(Train, BrokenCheckpointIsNamedAndPassedOver) {
  expect_success(run_program(command("whole")));
  expect_success(run_program(command("broken")));
  const fs::path file = output("broken") / "checkpoint-12" / "model.safetensors";
  std::string bytes = read_file(file);
  bytes[bytes.size() / 2] ^= 1;
  std::ofstream(file, std::ios::binary) << bytes;
  const Result result = run_program(command("broken", {"--resume"}));
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.err, AllOf(HasSubstr("warning: " + file.string() + ": expected checksum"),
                                HasSubstr("resuming from")));
  EXPECT_EQ(weights("broken"), weights("whole"));
}

TEST_F(Train, NumbersThatAreNotFiniteStopTheRun) {
  const Result result =
      run_program(command("nan", {"--learning-rate", "1e30", "--set", "metrics.spike_factor=0"}));
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, testing::ContainsRegex("error: step [0-9]+: expected .*finite"));
  EXPECT_FALSE(fs::exists(output("nan") / "checkpoint-12"));
}

TEST_F(Train, LabelsOutOfRangeAreNamed) {
  const std::string data = scratch_.file(
      "labels.jsonl", "{\"text\": \"one\", \"label\": 0}\n{\"text\": \"two\", \"label\": 5}\n");
  const Result result = run_program({"train", "-m", kTiny, "-o", output("labels"), "--set",
                                     "data.kind=classification", "--set", "data.train=" + data,
                                     "--set", R"(model.labels=["a", "b"])"});
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err, HasSubstr(data + ":2: label: expected"));
}

TEST_F(Train, OneRecipeOneDirectory) {
  expect_success(run_program(command("out", {"--max-steps", "1"})));
  expect_failure(run_program(command("out")), 1, HasSubstr("without checkpoints, or --resume"));
}

TEST_F(Train, CommandLinesThatAreWrong) {
  expect_failure(run_program(command("out", {"--set", "training.batchsize=3"})), 1,
                 HasSubstr("the nearest is training.batch_size"));
  expect_failure(run_program(command("out", {"--set", "x"})), 2, HasSubstr("FIELD=VALUE"));
  expect_failure(run_program({"train"}), 1, HasSubstr("model: expected either from"));
  expect_failure(run_program({"train", "/no/such/recipe"}), 1, HasSubstr("/no/such/recipe"));
  EXPECT_FALSE(fs::exists(output("out")));
}

TEST_F(Train, PrintsTheWholeRecipe) {
  const Result result = run_program(command("out", {"--seed", "7", "--print-recipe"}));
  expect_success(result);
  const nlohmann::json recipe = nlohmann::json::parse(result.out);
  EXPECT_EQ(recipe.at("training").at("seed"), 7);
  EXPECT_EQ(recipe.at("optimizer").at("adam_beta2"), 0.999);
  EXPECT_TRUE(recipe.at("lora").is_null());
  EXPECT_THAT(run_program({"train", "--fields"}).out, HasSubstr("optimizer.learning_rate = 5e-05"));
}

}  // namespace
}  // namespace diffllama::cli_test
