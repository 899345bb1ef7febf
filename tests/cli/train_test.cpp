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
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "checkpoint/safetensors/safetensors.h"
#include "cli/expectations.h"

namespace diffllama::cli_test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

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

  /// The class that a model gives to a text.
  std::int64_t largest_logit(const Arguments& model, const std::string& text) const {
    const Result tokens = run_program({"tokenize", "-m", kTiny, "--json"}, {.input = text});
    const auto ids = nlohmann::json::parse(tokens.out).at("ids").get<std::vector<std::int64_t>>();
    const std::string inputs = scratch_.path() / "inputs.safetensors";
    const std::string outputs = scratch_.path() / "outputs.safetensors";
    const Tensor tensor = Tensor::from(ids, {1, static_cast<std::int64_t>(ids.size())});
    write_safetensors(inputs, {copied_tensor("input_ids", tensor.view())});
    expect_success(run_program(Arguments{"forward"} + model +
                               Arguments{"--inputs", inputs, "--outputs", outputs}));
    const SafetensorsFile file(outputs);
    const TensorView& logits = file.tensors().at("logits");
    const auto* values = reinterpret_cast<const float*>(logits.bytes.data());
    return std::max_element(values, values + element_count(logits.shape)) - values;
  }

  Scratch scratch_;
  std::string recipe_;
};

/// So much text that work on it is not done before a signal comes.
std::string large_text(const Scratch& scratch, std::size_t bytes) {
  const std::string source = read_file(fs::path(DIFFLLAMA_SOURCE_DIR) / "LICENSE");
  std::string text;
  while (text.size() < bytes) text += source;
  return scratch.file("large.txt", text);
}

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
  /// Until `done()` holds, or the program has ended.
  template <class Done>
  void wait_until(const Done& done) {
    while (waitpid(process_, &status_, WNOHANG) == 0) {
      if (done()) return;
      usleep(1000);
    }
    ended_ = true;
  }
  void send(int signal) const {
    if (!ended_) kill(process_, signal);
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
    std::signal(SIGHUP, SIG_DFL);  // also where the tests run under nohup
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

// Conversations and completions from data to a model that generates and is measured; of a learning
// rate this high the few tokens that count are learnt by heart.
TEST_F(Train, LearnsConversationsAndCompletions) {
  const std::string chat_template =
      scratch_.file("chat.jinja",
                    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
                    "{% if add_generation_prompt %}assistant: {% endif %}");
  const std::string chat = scratch_.file(
      "chat.jsonl",
      R"({"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "A king"}]})"
      "\n");
  const std::string completion =
      scratch_.file("completion.jsonl", R"({"prompt": "Who?", "completion": " A king"})"
                                        "\n");
  const struct {
    const char* kind;
    std::string file, prompt;
  } cases[] = {{"chat", chat, "user: Who?\nassistant: "}, {"completion", completion, "Who?"}};
  for (const auto& [kind, file, prompt] : cases) {
    SCOPED_TRACE(kind);
    Arguments fields = {"--set", "data.kind=" + std::string(kind), "--set", "data.valid=" + file,
                        "--set", "data.sequence_length=32"};
    if (file == chat) fields = fields + Arguments{"--set", "data.chat_template=" + chat_template};
    expect_success(run_program(
        Arguments{"train", "-m", kTiny, "-o", output(kind), "--set", "data.train=" + file, "--set",
                  "optimizer.learning_rate=0.002", "--max-steps", "20", "--batch-size", "1"} +
        fields));
    const fs::path model = output(kind) / "last";
    const Result text =
        run_program({"generate", "-m", model, "-p", prompt, "--max-new-tokens", "6"});
    expect_success(text);
    EXPECT_THAT(text.out, HasSubstr("A king"));
    const Result measures = run_program(Arguments{"evaluate", "-m", model, "--json"} + fields);
    expect_success(measures);
    EXPECT_THAT(measures.out, HasSubstr("perplexity"));
  }
}

TEST_F(Train, SignalsSaveAndStop) {
  expect_success(run_program(command("whole")));
  // Of two that are both on their way the one with the smaller number is heard first.
  const std::vector<std::pair<int, int>> signals = {
      {SIGINT, 0}, {SIGTERM, 0}, {SIGHUP, 0}, {SIGTERM, SIGTERM}, {SIGHUP, SIGTERM}};
  for (const auto& [signal, second] : signals) {
    const std::string name = "stopped" + std::to_string(signal) + "_" + std::to_string(second);
    Running running(command(name, {"--set", "checkpoints.save_steps=0"}), scratch_.path() / "err");
    running.wait_for_steps(output(name) / "metrics.jsonl", 2);
    running.send(signal);
    const int status = running.end(second);
    if (status != 0) {  // 0: it was done before the signal came
      EXPECT_EQ(status, 128 + signal);
      EXPECT_THAT(read_file(scratch_.path() / "err"),
                  AllOf(HasSubstr("stopping: a checkpoint is saved when the step is done"),
                        HasSubstr("stopped, saved "), HasSubstr("--resume goes on")));
    }
    expect_success(run_program(command(name, {"--resume"})));
    EXPECT_EQ(weights(name), weights("whole"));
  }
}

TEST_F(Train, TokenisingEndsWithASignal) {
  const std::string text = large_text(scratch_, 8 << 20);
  Running running(command("out", {"--set", "data.train=" + text}), scratch_.path() / "err");
  running.wait_until([&] { return fs::exists(scratch_.path() / "shards" / "train"); });
  EXPECT_EQ(running.end(SIGTERM), -SIGTERM);
  EXPECT_THAT(read_file(scratch_.path() / "err"), HasSubstr("stopping: there is nothing to save"));
  EXPECT_FALSE(fs::exists(scratch_.path() / "shards" / "train" / "tokens-00000.bin"));
}

TEST_F(Train, EvaluationEndsWithASignalAndTheStepIsSaved) {
  const std::string text = large_text(scratch_, 1 << 20);
  const Arguments arguments = {"--set", "data.valid=" + text,
                               "--set", "evaluation.eval_steps=1",
                               "--set", "checkpoints.save_steps=0"};
  Running running(command("out", arguments), scratch_.path() / "err");
  running.wait_for_steps(output("out") / "metrics.jsonl", 1);
  EXPECT_EQ(running.end(SIGTERM), 128 + SIGTERM);
  EXPECT_TRUE(fs::exists(output("out") / "checkpoint-1"));
  EXPECT_THAT(read_file(output("out") / "metrics.jsonl"), testing::Not(HasSubstr("eval_loss")));
}

TEST_F(Train, AnotherModelIsNotResumed) {
  expect_success(run_program(command("out", {"--max-steps", "3"})));
  const auto refused = [&](const char* field, const nlohmann::json& value) {
    nlohmann::json recipe = nlohmann::json::parse(read_file(recipe_));
    recipe["model"]["config"][field] = value;
    if (value == "llama") recipe["model"]["config"]["architectures"] = {"LlamaForCausalLM"};
    const std::string other = scratch_.file("other.json", recipe.dump());
    return run_program({"train", other, "-t", "1", "-o", output("out"), "--resume"});
  };
  for (const auto& [field, value] : std::vector<std::pair<const char*, nlohmann::json>>{
           {"num_hidden_layers", 1}, {"rms_norm_eps", 0.5}, {"model_type", "llama"}}) {
    const Result result = refused(field, value);
    EXPECT_EQ(result.status, 1) << field;
    EXPECT_THAT(result.err,
                HasSubstr("expected that of the checkpoint which --resume goes on from"));
  }
  // How weights are stored is no part of it.
  EXPECT_EQ(refused("dtype", "bfloat16").status, 0);
}

TEST_F(Train, FinishedRunsSayThatNoStepIsLeft) {
  expect_success(run_program(command("out", {"--max-steps", "3"})));
  const Result result = run_program(command("out", {"--max-steps", "3", "--resume"}));
  expect_success(result);
  EXPECT_THAT(result.err, AllOf(HasSubstr("no step is left: 3 are done, of 3"),
                                HasSubstr("done: " + (output("out") / "checkpoint-3").string())));
}

// From another directory the recipe's paths mean others.
TEST_F(Train, ResumedFromElsewhereItMakesNothing) {
  expect_success(run_program(command("out", {"--max-steps", "1"})));
  nlohmann::json recipe = nlohmann::json::parse(read_file(output("out") / "recipe.json"));
  const fs::path elsewhere = scratch_.path() / "elsewhere" / "out";
  recipe["checkpoints"]["output_dir"] = elsewhere;
  std::ofstream(output("out") / "recipe.json") << recipe.dump();
  const Result result = run_program({"train", output("out") / "recipe.json", "--resume"});
  expect_failure(result, 1,
                 AllOf(HasSubstr("expected the recipe's own directory"), HasSubstr("or give -o")));
  // Nor where data is what is not there.
  expect_failure(run_program(command("none", {"--set", "data.train=/no/such.txt"})), 1,
                 HasSubstr("/no/such.txt"));
  EXPECT_FALSE(fs::exists(scratch_.path() / "elsewhere"));
  EXPECT_FALSE(fs::exists(output("none")));
}

TEST_F(Train, GgufFilesAreTrainedWithTheirTokenizer) {
  const std::string gguf = scratch_.path() / "tiny.gguf";
  expect_success(run_program({"convert", kTiny, gguf}));
  expect_success(
      run_program({"train", "-m", gguf, "-o", output("out"), "--set", "data.kind=text", "--set",
                   "data.train=" + std::string(DIFFLLAMA_SOURCE_DIR) + "/LICENSE", "--set",
                   "data.sequence_length=32", "--batch-size", "2", "--max-steps", "1"}));
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "generation_config.json"}) {
    EXPECT_EQ(read_file(output("out") / "last" / name), read_file(fs::path(kTiny) / name)) << name;
  }
  expect_success(run_program(
      {"generate", "-m", output("out") / "last", "-p", "To be", "--max-new-tokens", "2"}));
}

// A new head by LoRA, all the way: trained, loaded beside its base, merged, and right.
TEST_F(Train, ARecipeTrainsATokenizerFirst) {
  const Arguments own = {
      "--set", "model.tokenizer=null",           "--set", "tokenizer.type=unigram",
      "--set", "tokenizer.vocab_size=600",       "--set", "tokenizer.eos_token=</s>",
      "--set", "tokenizer.special_tokens=<|x|>", "--set", "checkpoints.save_steps=6"};
  expect_success(run_program(command("out", own)));
  expect_success(run_program(command("again", own + Arguments{"--max-steps", "6"})));
  const fs::path made = output("out") / "tokenizer" / "tokenizer.json";
  EXPECT_EQ(read_file(made), read_file(output("again") / "tokenizer" / "tokenizer.json"));
  EXPECT_EQ(read_file(made), read_file(output("out") / "last" / "tokenizer.json"));
  const Result tokens =
      run_program({"tokenize", "-m", output("out") / "last", "--json"}, {.input = "<|x|> kernel"});
  EXPECT_EQ(nlohmann::json::parse(tokens.out)["ids"][0], 2);  // behind <unk> and </s>
  // A run that goes on has its tokenizer, which is not made again.
  const fs::file_time_type before =
      fs::last_write_time(output("again") / "tokenizer" / "tokenizer.json");
  expect_success(run_program(command("again", own + Arguments{"--resume"})));
  EXPECT_EQ(fs::last_write_time(output("again") / "tokenizer" / "tokenizer.json"), before);
  expect_failure(run_program(command("small", own + Arguments{"--set", "tokenizer.vocab_size=9"})),
                 1, HasSubstr("recipe: tokenizer: expected a vocab_size from 259"));
  expect_failure(
      run_program(command("both", own + Arguments{"--set", "model.tokenizer=" + kTiny})), 1,
      HasSubstr("model.tokenizer: expected null where tokenizer.type says to train one"));
}

TEST_F(Train, AnAdapterWithAHeadClassifies) {
  const std::string labelled =
      scratch_.file("labelled.jsonl", R"({"text": "To be", "label": "verb"})"
                                      "\n"
                                      R"({"text": "the king", "label": "noun"})"
                                      "\n");
  expect_success(run_program({"train", "-m", kTiny, "-o", output("out"), "--set",
                              "data.kind=classification", "--set", "data.train=" + labelled,
                              "--batch-size", "2", "--max-steps", "20", "--learning-rate", "0.01",
                              "--set", "lora.r=4", "--set", "data.sequence_length=16"}));
  const fs::path adapter = output("out") / "last";
  const auto config = nlohmann::json::parse(read_file(adapter / "config.json"));
  EXPECT_EQ(config.at("id2label"), nlohmann::json::parse(R"({"0": "noun", "1": "verb"})"));
  EXPECT_EQ(config.at("architectures").at(0), "DiffLlamaForSequenceClassification");

  const fs::path merged = scratch_.path() / "merged";
  expect_success(run_program({"convert", "--merge-adapter", adapter, kTiny, merged}));
  const Result info = run_program({"info", "-m", merged});
  expect_success(info);
  EXPECT_THAT(info.out, HasSubstr("DiffLlamaForSequenceClassification"));
  EXPECT_EQ(nlohmann::json::parse(read_file(merged / "config.json")).at("id2label"),
            config.at("id2label"));
  const Arguments beside = {"-m", kTiny, "--adapter", adapter};
  for (const Arguments& model : {beside, Arguments{"-m", merged}}) {
    EXPECT_EQ(largest_logit(model, "the king"), 0);
    EXPECT_EQ(largest_logit(model, "To be"), 1);
  }
  expect_failure(run_program({"convert", "--merge-adapter", adapter, kTiny, output("m.gguf")}), 1,
                 HasSubstr("the one class that GGUF holds"));
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
  // "error: step N: expected ... finite"
  const std::string begin = "error: step ";
  const std::size_t at = result.err.find(begin);
  ASSERT_NE(at, std::string::npos) << result.err;
  const std::string message = result.err.substr(at + begin.size());
  const std::size_t digits = std::min(message.find_first_not_of("0123456789"), message.size());
  EXPECT_GT(digits, 0U) << message;
  EXPECT_THAT(message.substr(digits), AllOf(StartsWith(": expected "), HasSubstr("finite")));
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

// What is wrong with data is said before it is tokenised, and of which file.
TEST_F(Train, DataThatDoesNotFitIsNamed) {
  const auto classify = [&](const std::string& lines, const Arguments& more = {},
                            const std::string& steps = "1") {
    const std::string data = scratch_.file("data.jsonl", lines);
    return run_program(Arguments{"train", "-m", kTiny, "-o", output("data"), "--set",
                                 "data.kind=classification", "--set", "data.train=" + data,
                                 "--max-steps", steps, "--batch-size", "1"} +
                       more);
  };
  const std::string one = R"({"text": "To be or not to be that is the question", "label": "a"})"
                          "\n";
  const std::string two = R"({"text": "a", "label": "b"})"
                          "\n";
  expect_failure(classify(one + one), 1,
                 AllOf(HasSubstr("data.jsonl: label: expected two classes or more"),
                       HasSubstr("got \"a\" alone")));
  const Result cut = classify(one + two, {"--set", "data.sequence_length=4"});
  expect_success(cut);
  EXPECT_THAT(cut.err, HasSubstr("data.train: 1 of 2 examples have more than 4 tokens "
                                 "(data.sequence_length): their ends are cut off"));
  EXPECT_THAT(cut.err, HasSubstr("new, drawn from the seed: score.weight"));
  const Result resumed = classify(one + two, {"--set", "data.sequence_length=4", "--resume"}, "2");
  expect_success(resumed);
  EXPECT_THAT(resumed.err, testing::Not(HasSubstr("new, drawn from the seed")));

  const std::string short_text = scratch_.file("short.txt", "To be");
  expect_failure(run_program(command("short", {"--set", "data.train=" + short_text})), 1,
                 HasSubstr(short_text + ": expected at least the 32 tokens of one sequence"));
  nlohmann::json recipe = nlohmann::json::parse(read_file(recipe_));
  recipe["model"]["config"]["vocab_size"] = 4000;
  const std::string small = scratch_.file("small.json", recipe.dump());
  expect_failure(run_program({"train", small, "-o", output("small")}), 1,
                 AllOf(HasSubstr("model.tokenizer: expected at most the 4000 tokens of the model's "
                                 "vocab_size, got 4096 in "),
                       HasSubstr("diffllama-tiny")));
}

TEST_F(Train, WritesOverNothingThatItReads) {
  const auto contents = [&] {
    std::map<std::string, std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(scratch_.path())) {
      if (entry.is_regular_file()) all[entry.path()] = read_file(entry.path());
    }
    return all;
  };
  const std::string text = read_file(fs::path(DIFFLLAMA_SOURCE_DIR) / "LICENSE");
  const auto refused = [&](const Arguments& arguments) {
    SCOPED_TRACE(testing::PrintToString(arguments));
    const auto before = contents();
    expect_failure(run_program(arguments), 1, HasSubstr("expected another path than what is read"));
    EXPECT_TRUE(contents() == before);
  };
  // The run's recipe would take the place of the one it was read from, its metrics that of a text.
  refused({"train", recipe_, "-o", scratch_.path()});
  const std::string records = scratch_.path() / "records";
  fs::create_directory(records);
  std::ofstream(records + "/metrics.jsonl") << text;
  fs::create_symlink(records + "/metrics.jsonl", scratch_.path() / "link.txt");
  refused(command("records", {"--set", "data.train=" + records + "/metrics.jsonl"}));
  refused(command("records", {"--set", "data.valid=" + std::string(scratch_.path() / "link.txt")}));
  // A run that goes on removes its older checkpoints.
  expect_success(run_program(command("run")));
  const std::string last = output("run") / "last";
  std::ofstream(last + "/text.txt") << text;
  refused(command("run", {"--resume", "--set", "data.train=" + last + "/text.txt"}));
  refused(
      command("run", {"--resume", "--set", "model.from=" + last, "--set", "model.config=null"}));
  refused(command("run", {"--resume", "--set", "model.tokenizer=" + last}));
}

TEST_F(Train, OneRecipeOneDirectory) {
  expect_success(run_program(command("out", {"--max-steps", "1"})));
  expect_failure(run_program(command("out")), 1, HasSubstr("without checkpoints, or --resume"));
}

TEST_F(Train, CommandLinesThatAreWrong) {
  const auto expect_wrong = [&](const char* setting, const char* message) {
    expect_failure(run_program(command("out", {"--set", setting})), 2, HasSubstr(message));
  };
  expect_wrong("training.batchsize=3", "the nearest is training.batch_size");
  expect_wrong("learning_rate=3", "the nearest is optimizer.learning_rate");
  expect_wrong("training.batch_size=0", "training.batch_size: expected an integer");
  expect_wrong("lora=4", "or one field of an adapter, as in --set lora.r=8");
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
