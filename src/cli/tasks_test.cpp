#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/task_commands.h"
#include "cli/test_command.h"
#include "diffllama/error.h"

namespace diffllama::cli {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// The output of a command of these.
std::string output_of(std::vector<std::string> arguments) {
  const auto add = [](CLI::App& app) {
    add_classify_command(app);
    add_answer_command(app);
    add_tag_command(app);
    add_embed_command(app);
    add_perplexity_command(app);
    add_evaluate_command(app);
  };
  return run_command(add, std::move(arguments)).text;
}

const std::string kTasks = kGoldens + "/tasks";

json read_json(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  return json::parse(file);
}

// The adapter of a golden case, with the fields that its config gets besides.
std::string adapter_of(const json& golden, const Folder& folder) {
  std::string from = kTasks + "/" + golden["adapter"].get<std::string>();
  if (golden["config"].empty()) return from;
  const std::filesystem::path to = folder / "adapter";
  std::filesystem::create_directories(to);
  for (const char* file : {"adapter_model.safetensors", "adapter_config.json"}) {
    std::filesystem::copy_file(std::filesystem::path(from) / file, to / file,
                               std::filesystem::copy_options::overwrite_existing);
  }
  json config = read_json(from + "/config.json");
  config.update(golden["config"]);
  folder.write("adapter/config.json", config.dump());
  return to.string();
}

// The model, with the fields that its tokenizer_config.json gets besides.
std::string model_of(const json& golden, const Folder& folder) {
  const json fields = golden.value("tokenizer_config", json::object());
  if (fields.empty()) return kTiny;
  const std::filesystem::path to = folder / "model";
  if (std::filesystem::create_directories(to)) {
    for (const char* file : {"config.json", "model.safetensors", "tokenizer.json"}) {
      std::filesystem::create_symlink(std::filesystem::path(kTiny) / file, to / file);
    }
  }
  json config = read_json(kTiny + "/tokenizer_config.json");
  config.update(fields);
  folder.write("model/tokenizer_config.json", config.dump());
  return to.string();
}

std::vector<std::string> arguments_of(const std::string& command, const json& golden,
                                      const Folder& folder) {
  std::vector<std::string> arguments = {command, "-m", model_of(golden, folder)};
  if (!golden["adapter"].is_null()) {
    arguments.insert(arguments.end(), {"--adapter", adapter_of(golden, folder)});
  }
  for (const auto& [name, value] : golden["options"].items()) {
    std::string option = "--" + name;
    std::ranges::replace(option, '_', '-');
    if (value != false) arguments.push_back(option);
    if (!value.is_boolean()) {
      arguments.push_back(value.is_string() ? value.get<std::string>() : value.dump());
    }
  }
  return arguments;
}

// Equal but for numbers with a fraction, which may differ by 1e-5.
void expect_near(const json& found, const json& expected, const std::string& where) {
  if (expected.is_number_float() || found.is_number_float()) {
    ASSERT_TRUE(found.is_number() && expected.is_number()) << where << ": " << found.dump();
    EXPECT_NEAR(found.get<double>(), expected.get<double>(), 1e-5) << where;
  } else if (expected.is_array()) {
    ASSERT_TRUE(found.is_array()) << where << ": " << found.dump();
    ASSERT_EQ(found.size(), expected.size()) << where << ": " << found.dump();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      expect_near(found[i], expected[i], where + "[" + std::to_string(i) + "]");
    }
  } else if (expected.is_object()) {
    ASSERT_TRUE(found.is_object()) << where << ": " << found.dump();
    ASSERT_EQ(found.size(), expected.size()) << where << ": " << found.dump();
    for (const auto& [name, value] : expected.items()) {
      ASSERT_TRUE(found.contains(name)) << where << "." << name;
      expect_near(found[name], value, std::string(where).append(".").append(name));
    }
  } else {
    EXPECT_EQ(found, expected) << where;
  }
}

std::string lines_of(const json& inputs) {
  std::string lines;
  for (const json& input : inputs) lines += input.dump() + "\n";
  return lines;
}

class TaskGoldens : public testing::TestWithParam<std::string> {};

// tools/make_task_goldens.py: what transformers' pipelines give.
TEST_P(TaskGoldens, EqualTransformersPipelines) {
  const Folder folder;
  const json goldens = read_json(kTasks + "/" + GetParam() + ".json");
  ASSERT_FALSE(goldens.empty());
  for (const json& golden : goldens) {
    std::vector<std::string> arguments = arguments_of(GetParam(), golden, folder);
    arguments.insert(arguments.end(), {"-f", folder.write("inputs", lines_of(golden["inputs"]))});
    const std::vector<json> found = json_lines(output_of(arguments));
    ASSERT_EQ(found.size(), golden["outputs"].size());
    const std::string name =
        golden["adapter"].dump() + golden["config"].dump() + golden["options"].dump();
    for (std::size_t i = 0; i < found.size(); ++i) {
      expect_near(found[i], golden["outputs"][i], name + " " + golden["inputs"][i].dump());
    }
  }
}

// An input alone, in another order, in other steps and with other threads.
TEST_P(TaskGoldens, HaveTheSameBitsAloneAndInABatch) {
  const Folder folder;
  const json golden = read_json(kTasks + "/" + GetParam() + ".json")[0];
  const std::vector<std::string> arguments = arguments_of(GetParam(), golden, folder);
  const auto outputs = [&](const json& inputs, const std::vector<std::string>& options) {
    std::vector<std::string> all = arguments;
    all.insert(all.end(), options.begin(), options.end());
    all.insert(all.end(), {"-f", folder.write("inputs", lines_of(inputs))});
    return json_lines(output_of(all));
  };
  std::vector<json> together = outputs(golden["inputs"], {"-t", "2"});
  json reversed = golden["inputs"];
  std::ranges::reverse(reversed);
  std::vector<json> other = outputs(reversed, {"-t", "1", "--prefill-chunk", "24"});
  std::ranges::reverse(other);
  EXPECT_EQ(together, other);
  for (std::size_t i = 0; i < together.size(); i += 3) {
    EXPECT_EQ(outputs(json::array({golden["inputs"][i]}), {})[0], together[i])
        << golden["inputs"][i];
  }
}

INSTANTIATE_TEST_SUITE_P(Commands, TaskGoldens,
                         testing::Values("classify", "tag", "embed", "answer"),
                         [](const auto& command) { return command.param; });

TEST(Tasks, TakeOneTextByOption) {
  const std::string trec = kTasks + "/trec";
  const json lines = json_lines(
      output_of({"classify", "-m", kTiny, "--adapter", trec, "--top-k", "1", "-p", "Who?"}));
  ASSERT_EQ(lines.size(), 1);
  EXPECT_EQ(lines[0]["labels"].size(), 1);
  const json answer = json_lines(output_of({"answer", "-m", kTiny, "--adapter", kTasks + "/xquad",
                                            "-p", "Who?", "--context", "Anna sleeps."}))[0];
  EXPECT_EQ(answer["answers"].size(), 1);
}

TEST(Tasks, NameTheLineOfABadInput) {
  const Folder folder;
  const auto message = [&](const std::string& command, const std::string& adapter,
                           const std::string& text) {
    std::string found;
    try {
      output_of({command, "-m", kTiny, "--adapter", kTasks + "/" + adapter, "-f",
                 folder.write("inputs", text)});
    } catch (const Error& error) {
      found = error.what();
    }
    return found;
  };
  const std::string file = (folder / "inputs").string();
  EXPECT_EQ(message("classify", "trec", "{\"text\": \"a\"}\n\n[1]\n"),
            file + ":3: expected a JSON object, got [1]");
  EXPECT_EQ(message("classify", "trec", "{\"txt\": \"a\"}"),
            file + ":1: expected an object with \"text\", got {\"txt\":\"a\"}");
  EXPECT_EQ(message("classify", "trec", "{\"text\": 1}"),
            file + ":1: text: expected a string, got 1");
  EXPECT_EQ(message("answer", "xquad", "{\"question\": \"\", \"context\": \"a\"}"),
            file + ":1: question: expected a text, got none");
  EXPECT_EQ(message("answer", "xquad", "{\"question\": \"a\", \"context\": \"\"}"),
            file + ":1: context: expected a text, got none");
  EXPECT_EQ(message("tag", "ud", "{\"words\": [\"a\", 2]}"),
            file + ":1: words: expected a list of strings, got [\"a\",2]");
  EXPECT_EQ(message("tag", "ud", "{\"words\": [], \"text\": \"\"}"),
            file +
                ":1: expected an object with either \"text\" or \"words\", got "
                "{\"text\":\"\",\"words\":[]}");
  EXPECT_THAT(message("classify", "trec", "{\"text\": \"a\"}\n{"), HasSubstr(file + ":2: "));
}

TEST(Tasks, AnswerWhatCameBeforeABadLine) {
  const Folder folder;
  const std::string inputs = folder.write("inputs", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n{}\n");
  testing::internal::CaptureStdout();
  CLI::App app;
  add_embed_command(app);
  // CLI11 takes them from the back.
  EXPECT_THROW(app.parse(std::vector<std::string>{inputs, "-f", kTiny, "-m", "embed"}),
               FormatError);
  std::cout.flush();
  EXPECT_EQ(json_lines(testing::internal::GetCapturedStdout()).size(), 2);
}

TEST(Tasks, RefuseAModelWithAnotherHead) {
  EXPECT_THAT(
      [] {
        output_of({"classify", "-m", kTiny, "-p", "a"});
      },
      ThrowsMessage<InvalidArgument>("[classify] expected a model for sequence "
                                     "classification, got DiffLlamaForCausalLM"));
  EXPECT_THAT(
      [] {
        output_of({"answer", "-m", kTiny, "--adapter", kTasks + "/xquad", "--max-seq-length", "8",
                   "-p", "a b c d e f", "--context", "one two three four five six seven"});
      },
      ThrowsMessage<InvalidArgument>(
          AllOf(HasSubstr("-p: question: expected fewer than"), HasSubstr("tokens"))));
}

// --stride: what each token is predicted from, and how many are.
TEST(Perplexity, GivesALineADocumentAndSlidesWindows) {
  const Folder folder;
  std::string text;
  for (int i = 0; i < 200; ++i) text += "The number " + std::to_string(i) + " is here. ";
  const std::string file = folder.write("text.txt", text);
  const auto lines = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"perplexity", "-m", kTiny, "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return json_lines(output_of(arguments));
  };
  const std::vector<json> one = lines({"-f", file});
  ASSERT_EQ(one.size(), 1);
  EXPECT_EQ(one[0]["document"], file);
  const std::vector<json> all = lines({file});
  ASSERT_EQ(all.size(), 1);
  EXPECT_EQ(all[0]["perplexity"], one[0]["perplexity"]);
  const std::vector<json> sliding = lines({"-f", file, "--stride", "64"});
  EXPECT_GT(sliding[0]["tokens"], one[0]["tokens"]) << "the first of each window is predicted";
  EXPECT_LT(sliding[0]["perplexity"], one[0]["perplexity"]);
  const std::string two =
      folder.write("two.jsonl", "{\"text\": \"One here.\"}\n{\"text\": \"\"}\n");
  const std::vector<json> documents = lines({"-f", two});
  ASSERT_EQ(documents.size(), 2);
  EXPECT_EQ(documents[0]["document"], two + ":1");
  EXPECT_EQ(documents[1]["tokens"], 0);
  EXPECT_TRUE(documents[1]["perplexity"].is_null());
}

TEST(Perplexity, TakesOneTextByOptionAndStandardInput) {
  const Folder folder;
  const std::string file = folder.write("one.jsonl", "{\"text\": \"One here.\"}\n");
  const json expected = json_lines(output_of({"perplexity", "-m", kTiny, "--json", file}))[0];
  const std::vector<json> one =
      json_lines(output_of({"perplexity", "-m", kTiny, "--json", "-p", "One here."}));
  ASSERT_EQ(one.size(), 1);
  EXPECT_EQ(one[0]["document"], "-p");
  EXPECT_EQ(one[0]["perplexity"], expected["perplexity"]);
  const int input = ::dup(STDIN_FILENO);
  const int lines = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(::dup2(lines, STDIN_FILENO), STDIN_FILENO);
  const std::vector<json> read = json_lines(output_of({"perplexity", "-m", kTiny, "--json"}));
  ::dup2(input, STDIN_FILENO);
  ::close(lines);
  ::close(input);
  ASSERT_EQ(read.size(), 1);
  EXPECT_EQ(read[0]["document"], "stdin:1");
  EXPECT_EQ(read[0]["perplexity"], expected["perplexity"]);
  EXPECT_THAT(
      [&] {
        output_of({"perplexity", "-m", kTiny, "-p", "a", "--stride", "100000"});
      },
      ThrowsMessage<InvalidArgument>(HasSubstr("[stride] expected 1..max_position_embeddings")));
}

TEST(Tasks, ReadWhatIsNotUtf8AsReplacements) {
  const Folder folder;
  const auto embedded = [&](const std::string& text) {
    const std::string line = std::string(R"({"text": ")").append(text).append(R"("})");
    return output_of({"embed", "-m", kTiny, "-f", folder.write("inputs", line)});
  };
  EXPECT_EQ(embedded("a\xFFz"), embedded("a\xEF\xBF\xBDz"));
}

std::vector<json> evaluated(const std::string& adapter, std::vector<std::string> more) {
  std::vector<std::string> arguments = {"evaluate", "-m",        kTiny,
                                        "--json",   "--adapter", kTasks + "/" + adapter};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return json_lines(output_of(arguments));
}

TEST(Evaluate, MeasuresClassesAndWritesPredictions) {
  const Folder folder;
  const std::string data = folder.write("valid.csv",
                                        "kind,question\nHUM,Who wrote the letter to the king?\n"
                                        "NUM,How many rivers are there?\nLOC,\n"
                                        "DESC,\"Who, then, is the king?\"\n");
  const std::string predictions = (folder / "predictions.jsonl").string();
  const json result =
      evaluated("trec", {"--set", "data.kind=classification", "--set", "data.valid=" + data,
                         "--set", "data.text_column=question", "--set", "data.label_column=kind",
                         "--predictions", predictions})[0];
  EXPECT_EQ(result["examples"], 4);
  EXPECT_EQ(result["confusion_matrix"]["labels"].size(), 6);
  int right = 0;
  std::ifstream file(predictions);
  std::vector<json> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(json::parse(line));
  ASSERT_EQ(lines.size(), 4);
  for (const json& line : lines) right += line["label"] == line["prediction"] ? 1 : 0;
  EXPECT_EQ(result["accuracy"], right / 4.0);
  EXPECT_GE(right, 2) << "the adapter knows who and how many";
  EXPECT_TRUE(result.contains("macro_f1") && result.contains("matthews_correlation"));
  EXPECT_THAT(
      [&] {
        evaluated("trec", {"--set", "data.kind=squad", "--set", "data.valid=" + data});
      },
      ThrowsMessage<ConfigError>(HasSubstr("data.kind: expected one for the model's "
                                           "DiffLlamaForSequenceClassification")));
  EXPECT_THAT(
      [&] {
        evaluated("trec", {"--set", "data.kind=classification"});
      },
      ThrowsMessage<ConfigError>(HasSubstr("data.valid: expected files")));
}

TEST(Evaluate, SkipsBadRowsAndMeasuresOtherHeads) {
  const std::string passages = DIFFLLAMA_SOURCE_DIR "/examples/data/passages.jsonl";
  const json squad =
      evaluated("xquad", {"--set", "data.kind=squad", "--set", "data.valid=" + passages})[0];
  for (const char* name : {"exact_match", "f1", "has_answer_f1", "no_answer_exact_match"}) {
    EXPECT_TRUE(squad.contains(name)) << name;
  }
  EXPECT_EQ(squad["examples"], 6) << "questions";
  EXPECT_EQ(squad["windows"], 6);
  const json cut =
      evaluated("xquad", {"--set", "data.kind=squad", "--set", "data.valid=" + passages, "--set",
                          "data.sequence_length=32", "--set", "data.doc_stride=4", "--set",
                          "data.max_answer_length=1"})[0];
  EXPECT_EQ(cut["examples"], 6);
  EXPECT_GT(cut["windows"], 6);
  const Folder folder;
  const std::string bio = folder.write("a.bio", "Anna B-PER\nsleeps O\n\nbroken\n\nRome B-LOC\n");
  const std::vector<std::string> conll = {"--set", "data.kind=conll", "--set", "data.valid=" + bio};
  EXPECT_THAT([&] { evaluated("ner", conll); },
              ThrowsMessage<FormatError>(bio + ":4: expected a word and its tag, got \"broken\""));
  std::vector<std::string> skipping = conll;
  skipping.insert(skipping.end(), {"--skip-bad-rows", "1"});
  const json tags = evaluated("ner", skipping)[0];
  EXPECT_EQ(tags["examples"], 2);
  EXPECT_TRUE(tags.contains("entity_f1"));
  const std::string documents = DIFFLLAMA_SOURCE_DIR "/tests/data/documents.jsonl";
  const json language =
      json_lines(output_of({"evaluate", "-m", kTiny, "--json", "--set", "data.kind=jsonl", "--set",
                            "data.sequence_length=64", "--set", "data.valid=" + documents}))[0];
  EXPECT_NEAR(language["perplexity"].get<double>(), std::exp(language["loss"].get<double>()), 1e-4);
  EXPECT_GT(language["bits_per_byte"], 0.5);
  EXPECT_LT(language["bits_per_byte"], 4);
  // One window holds all of a short text, and each of its tokens counts as in perplexity.
  const std::string text = folder.write("short.jsonl", "{\"text\": \"One of few here.\"}\n");
  const json whole =
      json_lines(output_of({"evaluate", "-m", kTiny, "--json", "--set", "data.kind=jsonl", "--set",
                            "data.append_eos=false", "--set", "data.valid=" + text}))[0];
  const json by_document =
      json_lines(output_of({"perplexity", "-m", kTiny, "--dtype", "float32", "--json", text}))[0];
  EXPECT_EQ(whole["examples"], 1);
  EXPECT_NEAR(whole["loss"].get<double>(), by_document["negative_log_likelihood"].get<double>(),
              1e-5);
}

}  // namespace
}  // namespace diffllama::cli
