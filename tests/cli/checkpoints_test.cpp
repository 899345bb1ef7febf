// The DiffLlama checkpoints that people download, from text: stand-ins with the same files, the
// same old and new spellings, and the same kinds of tokenizers, but small and of random weights.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "checkpoint/safetensors/safetensors.h"
#include "cli/expectations.h"
#include "config/model_config.h"
#include "diffllama/model.h"

namespace diffllama::cli_test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ElementsAreArray;
using testing::HasSubstr;
using Ids = std::vector<std::int64_t>;

constexpr const char* kConversation =
    R"({"messages": [{"role": "user", "content": " To be <|eot_id|> "}], )"
    R"("add_generation_prompt": true})";

constexpr int kFirstSpecial = 128000;

void write_file(const fs::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

/// Writes a model of `config` with random weights; its config.json stays as it is given.
void write_model(const fs::path& directory, const json& config) {
  fs::create_directories(directory);
  const auto silent = [](const std::string&) {};
  const ModelConfig parsed = parse_model_config(config.dump(), "config.json", silent);
  Model::from_config(parsed, 17).save_pretrained(directory);
  write_file(directory / "config.json", config.dump());
}

std::string new_tokens(const std::string& errors) {
  const std::size_t end = errors.find(" new tokens");
  if (end == std::string::npos) return "no statistics: " + errors;
  const std::size_t begin = errors.find_last_not_of("0123456789", end - 1) + 1;
  return errors.substr(begin, end - begin);
}

Result chat_once(const fs::path& model, const Arguments& more) {
  return run_program(
      Arguments{"chat", "-m", model, "-t", "1", "--dtype", "float32", "--max-new-tokens", "4"} +
          more,
      {.input = "To be\n/stats\n"});
}

std::string special_token(int id) {
  switch (id) {
    case 128000:
      return "<|begin_of_text|>";
    case 128001:
      return "<|end_of_text|>";
    case 128006:
      return "<|start_header_id|>";
    case 128007:
      return "<|end_header_id|>";
    case 128009:
      return "<|eot_id|>";
    default:
      return "<|reserved_special_token_" + std::to_string(id) + "|>";
  }
}

// The golden of Llama 3's pipeline, its vocabulary filled up to 128,000 with tokens that nothing
// makes, and the 256 special ones behind them.
json llama3_tokenizer() {
  const fs::path golden = fs::path(DIFFLLAMA_SOURCE_DIR) / "tests/golden/tokenizer/llama3.json";
  json tokenizer = json::parse(read_file(golden))["tokenizer"];
  json& vocab = tokenizer["model"]["vocab"];
  for (auto id = static_cast<int>(vocab.size()); id < kFirstSpecial; ++id) {
    vocab["\u0120unused" + std::to_string(id)] = id;
  }
  json added = json::array();
  for (int id = kFirstSpecial; id < kFirstSpecial + 256; ++id) {
    added.push_back({{"id", id},
                     {"content", special_token(id)},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  tokenizer["added_tokens"] = added;
  const std::string bos = special_token(kFirstSpecial);
  tokenizer["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single",
       {{{"SpecialToken", {{"id", bos}, {"type_id", 0}}}},
        {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"pair",
       {{{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
        {{"Sequence", {{"id", "B"}, {"type_id", 1}}}}}},
      {"special_tokens", {{bos, {{"id", bos}, {"ids", {kFirstSpecial}}, {"tokens", {bos}}}}}}};
  return tokenizer;
}
/// kajuma/DiffLlama-0.3B-handcut: Llama 3's vocabulary of 128,256 and its chat template, a config
/// in the spelling of old versions, and two different tokens that end a text.
void write_llama3_checkpoint(const fs::path& directory) {
  write_model(directory, {{"_name_or_path", "somebody/Llama-3"},
                          {"architectures", {"DiffLlamaForCausalLM"}},
                          {"model_type", "diffllama"},
                          {"attention_bias", false},
                          {"attention_dropout", 0.0},
                          {"bos_token_id", 128000},
                          {"eos_token_id", 128001},
                          {"hidden_act", "silu"},
                          {"hidden_size", 32},
                          {"initializer_range", 0.02},
                          {"intermediate_size", 64},
                          {"max_position_embeddings", 131072},
                          {"mlp_bias", false},
                          {"num_attention_heads", 4},
                          {"num_hidden_layers", 2},
                          {"num_key_value_heads", 2},
                          {"pretraining_tp", 1},
                          {"rms_norm_eps", 1e-5},
                          {"rope_scaling",
                           {{"factor", 32.0},
                            {"high_freq_factor", 4.0},
                            {"low_freq_factor", 1.0},
                            {"original_max_position_embeddings", 8192},
                            {"rope_type", "llama3"}}},
                          {"rope_theta", 500000.0},
                          {"tie_word_embeddings", true},
                          {"torch_dtype", "float32"},
                          {"transformers_version", "4.48.0"},
                          {"use_cache", true},
                          {"vocab_size", 128256}});
  write_file(directory / "generation_config.json",
             R"({"_from_model_config": true, "bos_token_id": 128000, "eos_token_id": 128001})");
  write_file(directory / "tokenizer.json", llama3_tokenizer().dump());
  write_file(directory / "tokenizer_config.json",
             json{{"bos_token", "<|begin_of_text|>"},
                  {"eos_token", "<|eot_id|>"},
                  {"tokenizer_class", "PreTrainedTokenizerFast"},
                  {"chat_template",
                   "{% for message in messages %}{% set content = '<|start_header_id|>' + "
                   "message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + "
                   "'<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content "
                   "%}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
                   "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"}}
                 .dump());
}

class Llama3Checkpoint : public testing::Test {
 protected:
  void SetUp() override { write_llama3_checkpoint(model()); }
  fs::path model() const { return scratch_.path() / "model"; }

  Scratch scratch_;
};

TEST_F(Llama3Checkpoint, ReadsTextWithItsOwnSpecialTokens) {
  const Result tokens =
      run_program({"tokenize", "-m", model(), "--json"}, {.input = "<|eot_id|>To"});
  expect_success(tokens);
  const Ids ids = json::parse(tokens.out)["ids"];
  ASSERT_GE(ids.size(), 3U);
  EXPECT_EQ(ids[0], 128000);
  EXPECT_EQ(ids[1], 128009);
  const Result generated = run_program({"generate", "-m", model(), "-p", "To be", "-t", "1",
                                        "--max-new-tokens", "3", "--ignore-eos", "--json"});
  expect_success(generated);
  EXPECT_EQ(json::parse(generated.out)["ids"].size(), 3U);
}

TEST_F(Llama3Checkpoint, ItsChatTemplateWritesHeadersThatContentCannot) {
  const Result result =
      run_program({"apply-chat-template", "-m", model(), "--json"}, {.input = kConversation});
  expect_success(result);
  const json chat = json::parse(result.out);
  EXPECT_EQ(chat["text"],
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nTo be <|eot_id|>"
            "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n");
  const Ids ids = chat["ids"];
  EXPECT_EQ(ids[0], 128000);
  EXPECT_EQ(ids[1], 128006);
  EXPECT_EQ(std::ranges::count(ids, 128009), 1);  // the template's; the message's is text
  EXPECT_EQ(std::ranges::count(ids, 128007), 2);
}

TEST_F(Llama3Checkpoint, EitherOfItsEndTokensEndsAnAnswer) {
  // eos_token of tokenizer_config.json is 128009, eos_token_id of the other files 128001.
  for (const char* end : {"128009", "128001"}) {
    const Result result =
        chat_once(model(), {"--logit-bias", std::string("{\"") + end + "\": 1000}"});
    expect_success(result);
    EXPECT_EQ(new_tokens(result.err), "1") << end;
    EXPECT_EQ(result.out, "\n");
  }
  const Result other = chat_once(model(), {"--logit-bias", R"({"128010": 1000})"});
  EXPECT_EQ(new_tokens(other.err), "4");
  const Result going_on =
      chat_once(model(), {"--logit-bias", R"({"128009": 1000})", "--ignore-eos"});
  EXPECT_EQ(new_tokens(going_on.err), "4");
}

TEST_F(Llama3Checkpoint, AllOfItHoldsInAGgufFile) {
  const fs::path file = scratch_.path() / "m.gguf";
  expect_success(run_program({"convert", model(), file}));
  const Result directory =
      run_program({"apply-chat-template", "-m", model(), "--json"}, {.input = kConversation});
  const Result converted =
      run_program({"apply-chat-template", "-m", file, "--json"}, {.input = kConversation});
  expect_success(converted);
  EXPECT_EQ(converted.out, directory.out);
  for (const char* end : {"128009", "128001"}) {
    const Result result = chat_once(file, {"--logit-bias", std::string("{\"") + end + "\": 1000}"});
    expect_success(result);
    EXPECT_EQ(new_tokens(result.err), "1") << end;
  }
}

// reyllama/DiffLlama-375M and diffllama_300m: the same kind in a folder of the directory.
TEST(Checkpoints, AModelInTheFolderOfATrainersCheckpoint) {
  const Scratch scratch;
  const fs::path inner = scratch.path() / "checkpoint-64434";
  write_llama3_checkpoint(inner);
  scratch.file("README.md", "a model");
  const Arguments generate = {
      "generate", "-p",      "To be",   "-t",           "1", "--max-new-tokens",
      "4",        "--dtype", "float32", "--ignore-eos", "-m"};
  const Result outer_result = run_program(generate + Arguments{scratch.path()});
  expect_success(outer_result);
  EXPECT_EQ(outer_result.out, run_program(generate + Arguments{inner}).out);
  const Result chat =
      run_program({"apply-chat-template", "-m", scratch.path()}, {.input = kConversation});
  expect_success(chat);
  EXPECT_THAT(chat.out, HasSubstr("<|start_header_id|>user"));
}

/// kajuma/DiffLlama-1B: a SentencePiece model that transformers reads as LlamaTokenizer, added
/// tokens that are not special, bfloat16, untied, and a template with macros and tools.
class SentencePieceCheckpoint : public testing::Test {
 protected:
  void SetUp() override {
    const fs::path golden =
        fs::path(DIFFLLAMA_SOURCE_DIR) / "tests/golden/tokenizer_model/unigram_no_prefix";
    write_model(model(), {{"architectures", {"DiffLlamaForCausalLM"}},
                          {"model_type", "diffllama"},
                          {"bos_token_id", 1},
                          {"eos_token_id", 2},
                          {"hidden_size", 32},
                          {"intermediate_size", 64},
                          {"max_position_embeddings", 128},
                          {"num_attention_heads", 4},
                          {"num_hidden_layers", 2},
                          {"num_key_value_heads", 4},
                          {"rms_norm_eps", 1e-5},
                          {"rope_theta", 10000.0},
                          {"tie_word_embeddings", false},
                          {"torch_dtype", "bfloat16"},
                          {"vocab_size", 608}});
    cases_ = json::parse(read_file(golden / "cases.json"));
    fs::copy_file(golden / "tokenizer.model", model() / "tokenizer.model");
    json config = json::parse(read_file(golden / "tokenizer_config.json"));
    config["chat_template"] = kTemplate;
    write_file(model() / "tokenizer_config.json", config.dump());
  }
  fs::path model() const { return scratch_.path() / "model"; }

  static constexpr const char* kTemplate = R"(
{%- macro describe(tool) -%}
{{ tool.name }}(
{%- for key, value in tool.parameters.items() if value is string -%}
{{ key }}: {{ value|string }}{{ ', ' if not loop.last else '' }}
{%- endfor -%}
)
{%- endmacro -%}
{%- if tools %}{% for tool in tools %}{{ describe(tool) }};{% endfor %}{% endif -%}
{%- set users = messages | selectattr('role', 'equalto', 'user') | list -%}
{%- for message in messages -%}
<|{{ message.role }}|>{{ message.content }}
{%- endfor -%}
{%- if users[-1].content == messages[-1].content %}<|assistant|>{% endif -%}
)";

  Scratch scratch_;
  json cases_;
};

TEST_F(SentencePieceCheckpoint, ReadsTextAsLlamaTokenizerDoes) {
  for (const json& each : cases_) {
    const std::string text = each["text"];
    const Result result = run_program({"tokenize", "-m", model(), "--json"}, {.input = text});
    expect_success(result);
    EXPECT_EQ(json::parse(result.out)["ids"], each["ids"]) << text;
  }
}

TEST_F(SentencePieceCheckpoint, ItsTemplateAndItsTokensThatAreNotSpecial) {
  const Result result = run_program(
      {"apply-chat-template", "-m", model(), "--json"},
      {.input =
           R"({"messages": [{"role": "user", "content": "To be"}], "tools": [{"name": "look", )"
           R"("parameters": {"town": "text", "days": 3, "unit": "x"}}]})"});
  expect_success(result);
  const json chat = json::parse(result.out);
  EXPECT_EQ(chat["text"], "look(town: text, unit: x);<|user|>To be<|assistant|>");
  const Ids ids = chat["ids"];
  EXPECT_EQ(std::ranges::count(ids, 600), 1);
  EXPECT_EQ(ids.back(), 601);
  const Result generated = run_program({"generate", "-m", model(), "-p", "To be", "-t", "1",
                                        "--max-new-tokens", "3", "--ignore-eos", "--json"});
  expect_success(generated);
  EXPECT_EQ(json::parse(generated.out)["ids"].size(), 3U);
  const Result talk = chat_once(model(), {"--logit-bias", R"({"2": 1000})"});
  expect_success(talk);
  EXPECT_EQ(new_tokens(talk.err), "1");
}

TEST_F(SentencePieceCheckpoint, IsTheSameInAGgufFileAndBack) {
  const fs::path gguf = scratch_.path() / "m.gguf";
  const fs::path back = scratch_.path() / "back";
  expect_success(run_program({"convert", model(), gguf}));
  expect_success(run_program({"convert", gguf, back}));
  EXPECT_EQ(read_file(back / "tokenizer.model"), read_file(model() / "tokenizer.model"));
  EXPECT_EQ(json::parse(read_file(back / "tokenizer_config.json")),
            json::parse(read_file(model() / "tokenizer_config.json")));
  expect_success(run_program({"quantize", model(), scratch_.path() / "q.gguf", "F16"}));
  for (const fs::path& same : {gguf, back, scratch_.path() / "q.gguf"}) {
    SCOPED_TRACE(same);
    const Result tokens =
        run_program({"tokenize", "-m", same, "--json"}, {.input = "a<|user|>b <s> To be"});
    expect_success(tokens);
    EXPECT_EQ(
        tokens.out,
        run_program({"tokenize", "-m", model(), "--json"}, {.input = "a<|user|>b <s> To be"}).out);
    EXPECT_EQ(
        run_program({"apply-chat-template", "-m", same, "--json"}, {.input = kConversation}).out,
        run_program({"apply-chat-template", "-m", model(), "--json"}, {.input = kConversation})
            .out);
    expect_success(
        run_program({"generate", "-m", same, "-p", "To be", "-t", "1", "--max-new-tokens", "3"}));
  }
}

// U+009B begins a command as ESC [ does.
TEST_F(SentencePieceCheckpoint, PrintsNoTokenThatATerminalWouldObey) {
  json config = json::parse(read_file(model() / "tokenizer_config.json"));
  config["added_tokens_decoder"]["602"] = {{"content", "\u009b2J\u202e\u007f"}, {"special", false}};
  write_file(model() / "tokenizer_config.json", config.dump());
  const Result result =
      run_program({"tokenize", "-m", model(), "--offsets"}, {.input = "\u009b2J\u202e\u007f"});
  expect_success(result);
  EXPECT_THAT(result.out, HasSubstr(R"("\u009b2J\u202e\u007f")"));
  EXPECT_THAT(run_program({"tokenize", "-m", model()}, {.input = "a"}).out, HasSubstr("\"a\""));
}

// hf-tiny-v2 and its like: every head, rope_parameters, 4 heads, hidden 32.
TEST(Checkpoints, TinyRandomModelsOfEveryHeadReadText) {
  const Result tokens = run_program({"tokenize", "-m", kTiny, "--json"}, {.input = "To be"});
  const Ids ids = json::parse(tokens.out)["ids"];
  const std::pair<const char*, const char*> heads[] = {
      {"DiffLlamaModel", "last_hidden_state"},
      {"DiffLlamaForCausalLM", "logits"},
      {"DiffLlamaForSequenceClassification", "logits"},
      {"DiffLlamaForQuestionAnswering", "start_logits"},
      {"DiffLlamaForTokenClassification", "logits"}};
  for (const auto& [head, output] : heads) {
    SCOPED_TRACE(head);
    const Scratch scratch;
    const fs::path model = scratch.path() / "model";
    write_model(model, {{"architectures", {head}},
                        {"model_type", "diffllama"},
                        {"hidden_size", 32},
                        {"intermediate_size", 37},
                        {"num_attention_heads", 4},
                        {"num_hidden_layers", 2},
                        {"num_key_value_heads", 2},
                        {"max_position_embeddings", 512},
                        {"pad_token_id", 0},
                        {"rope_parameters", {{"rope_theta", 10000.0}, {"rope_type", "default"}}},
                        {"dtype", "float32"},
                        {"vocab_size", 4096}});
    for (const char* file : {"tokenizer.json", "tokenizer_config.json"}) {
      fs::copy_file(fs::path(kTiny) / file, model / file);
    }
    const std::string inputs = scratch.path() / "in.safetensors";
    const std::string outputs = scratch.path() / "out.safetensors";
    const Tensor tensor = Tensor::from(ids, {1, static_cast<std::int64_t>(ids.size())});
    write_safetensors(inputs, {copied_tensor("input_ids", tensor.view())});
    expect_success(run_program({"forward", "-m", model, "--inputs", inputs, "--outputs", outputs}));
    EXPECT_THAT(read_file(outputs), HasSubstr(output));
    const Result again = run_program({"tokenize", "-m", model, "--json"}, {.input = "To be"});
    expect_success(again);
    EXPECT_THAT(json::parse(again.out)["ids"].get<Ids>(), ElementsAreArray(ids));
  }
}

}  // namespace
}  // namespace diffllama::cli_test
