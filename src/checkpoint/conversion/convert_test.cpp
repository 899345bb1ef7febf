#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "checkpoint/codec/row_codec.h"
#include "checkpoint/gguf/gguf.h"
#include "checkpoint/gguf/gguf_test_writer.h"
#include "checkpoint/gguf/gguf_tokenizer.h"
#include "checkpoint/safetensors/safetensors.h"
#include "config/model_config.h"
#include "diffllama/checkpoint.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

const fs::path kSource = DIFFLLAMA_SOURCE_DIR;
const fs::path kForward = kSource / "tests/golden/forward";

std::string name_of(const TensorView& view) { return std::string(dtype_name(view.dtype)); }

class Convert : public testing::Test {
 protected:
  fs::path path(const std::string& name) const { return directory_.path() / name; }
  void convert(const fs::path& in, const fs::path& out, DType expanded = DType::float32) {
    convert_model(in, out,
                  {.expanded = expanded, .warn = [](const std::string&) {}, .progress = {}});
  }
  void quantize(const fs::path& in, const fs::path& out, const char* type, int threads = 1) {
    warnings_.clear();
    quantize_model(in, out, type,
                   {.threads = threads,
                    .warn = [this](const std::string& text) { warnings_.push_back(text); },
                    .progress = {}});
  }
  void expect_same_file(const fs::path& a, const fs::path& b) {
    EXPECT_TRUE(read_whole_file(a) == read_whole_file(b)) << a << " and " << b;
  }
  std::string refused(const fs::path& in, const fs::path& out) {
    return refusal([&] { convert(in, out); });
  }

  TestDirectory directory_;
  std::vector<std::string> warnings_;
};

// Every causal model there is a golden of: float32, float16, bfloat16 and mixed storage, tied and
// not, with biases, all rotary types.
TEST_F(Convert, ADirectoryComesBackAsItWas) {
  int converted = 0;
  for (const auto& entry : fs::directory_iterator(kForward)) {
    const fs::path& golden = entry.path();
    const std::string name = golden.filename();
    if (!fs::exists(golden / "model.safetensors")) continue;
    const Checkpoint checkpoint = Checkpoint::open(golden, [](const std::string&) {});
    const ModelConfig& config = checkpoint.config();
    if (config.architecture != Architecture::causal_lm) continue;
    const bool in_gguf =  // what GGUF's llama has no key for is refused, see below
        config.rope.type != RopeType::dynamic && config.rope.truncate.value_or(true);
    if (config.model_type == ModelType::llama && !in_gguf) continue;
    SCOPED_TRACE(name);
    convert(golden, path(name + ".gguf"));
    convert(path(name + ".gguf"), path(name));
    EXPECT_EQ(read_whole_file(path(name) / "config.json"),
              config_for_every_version(read_whole_file(golden / "config.json"), "config.json"));
    expect_same_file(golden / "model.safetensors", path(name) / "model.safetensors");
    ++converted;
  }
  EXPECT_GT(converted, 40);
}

TEST_F(Convert, TheModelThatShipsKeepsItsTokenizerAndDefaults) {
  const fs::path tiny = kSource / "models/diffllama-tiny";
  convert(tiny, path("tiny.gguf"));
  convert(path("tiny.gguf"), path("tiny"));
  for (const char* name : {"config.json", "generation_config.json", "tokenizer.json",
                           "tokenizer_config.json", "model.safetensors"}) {
    expect_same_file(tiny / name, path("tiny") / name);
  }
  const GgufFile file(path("tiny.gguf"));
  EXPECT_EQ(file.text("general.architecture"), "diffllama");
  EXPECT_EQ(file.integer("general.file_type"), 32);
  EXPECT_EQ(file.text("tokenizer.ggml.model"), "gpt2");
  EXPECT_EQ(file.text("tokenizer.ggml.pre"), "gpt-2");
  EXPECT_EQ(file.integer("tokenizer.ggml.bos_token_id"), 1);
  EXPECT_EQ(file.integer("tokenizer.ggml.eos_token_id"), 2);
  EXPECT_EQ(file.integer("tokenizer.ggml.padding_token_id"), 0);
  EXPECT_EQ(file.boolean("tokenizer.ggml.add_bos_token"), true);
  EXPECT_EQ(name_of(file.tensors().at("blk.0.attn_norm.weight")), "float32");
  EXPECT_EQ(name_of(file.tensors().at("blk.0.attn_lambda_q1.weight")), "float32");
  EXPECT_EQ(name_of(file.tensors().at("blk.0.attn_q.weight")), "bfloat16");
}

// A directory with a tokenizer.model alone: SentencePiece, which may be any bytes, and tiktoken.
TEST_F(Convert, ATokenizerModelComesBackAsItWas) {
  const fs::path goldens = kSource / "tests/golden/tokenizer_model";
  for (const std::string name :
       {"unigram_no_prefix", "bpe_llama", "bpe_added_tokens", "tiktoken"}) {
    SCOPED_TRACE(name);
    const fs::path from = path(name);
    fs::copy(kForward / "llama_causal", from);
    const char* model = name == "tiktoken" ? "tiktoken.model" : "tokenizer.model";
    fs::copy(goldens / name / "tokenizer.model", from / model);
    fs::copy(goldens / name / "tokenizer_config.json", from);
    const bool lists = name == "bpe_added_tokens";
    if (lists) fs::copy(goldens / name / "added_tokens.json", from);
    if (lists) fs::copy(goldens / name / "special_tokens_map.json", from);
    std::vector<std::string> warnings;
    convert_model(from, path(name + ".gguf"),
                  {.pad_vocab = true,
                   .warn = [&](const std::string& text) { warnings.push_back(text); },
                   .progress = {}});
    convert(path(name + ".gguf"), path(name + "-back"));
    expect_same_file(from / model, path(name + "-back") / model);
    expect_same_file(from / "tokenizer_config.json",
                     path(name + "-back") / "tokenizer_config.json");
    EXPECT_FALSE(fs::exists(path(name + "-back") / "tokenizer.json"));
    if (lists) {
      expect_same_file(from / "added_tokens.json", path(name + "-back") / "added_tokens.json");
    }
    const GgufFile file(path(name + ".gguf"));
    const Tokenizer tokenizer = read_gguf_tokenizer(file, {});
    for (const auto& each : nlohmann::json::parse(read_whole_file(goldens / name / "cases.json"))) {
      EXPECT_EQ(nlohmann::json(tokenizer.encode(each["text"].get<std::string>()).ids), each["ids"]);
    }
    if (name == "unigram_no_prefix") {
      EXPECT_EQ(file.text("tokenizer.ggml.model"), kNoVocabulary);
      ASSERT_EQ(warnings.size(), 1U);
      EXPECT_THAT(warnings[0], HasSubstr("tokenizer.model: GGUF has no keys for this kind of "
                                         "tokenizer; the file holds the tokenizer itself"));
    } else {
      EXPECT_EQ(file.text("tokenizer.ggml.model"), name == "tiktoken" ? "gpt2" : "llama");
      EXPECT_THAT(warnings, IsEmpty());
    }
  }
}

// The rows of a Llama's q and k lie as llama.cpp wants them: what is read is what was written.
TEST_F(Convert, ALlamaIsReadBackTheSameFromItsFile) {
  const fs::path golden = kForward / "llama_bias";
  convert(golden, path("m.gguf"));
  const Checkpoint before = Checkpoint::open(golden);
  const Checkpoint after = Checkpoint::open(path("m.gguf"));
  for (const char* name :
       {"model.layers.0.self_attn.q_proj.weight", "model.layers.1.self_attn.k_proj.bias"}) {
    const StoredTensor& a = *before.find(name);
    const StoredTensor& b = *after.find(name);
    EXPECT_FALSE(std::ranges::equal(a.view.bytes, b.view.bytes)) << name;
    const bool matrix = a.view.shape.size() > 1;
    std::vector<float> x(static_cast<std::size_t>(a.view.shape.back()));
    std::vector<float> y(x.size());
    for (std::int64_t row = 0; row < (matrix ? a.view.shape[0] : 1); ++row) {
      a.read_row(row, x);
      b.read_row(row, y);
      ASSERT_EQ(x, y) << name << " row " << row;
    }
  }
}

// As llama.cpp wrote it: no config.json and no tokenizer.json inside, block-quantised tensors.
TEST_F(Convert, AFileOfLlamaCppBecomesADirectory) {
  const fs::path golden = kSource / "tests/golden/gguf/llama.gguf";
  convert(golden, path("m"));
  const Checkpoint file = Checkpoint::open(golden);
  const Checkpoint made = Checkpoint::open(path("m"));
  EXPECT_EQ(made.config().dtype, DType::float32);
  for (const TensorSpec& spec : tensor_specs(made.config())) {
    const DType stored = file.find(spec.name)->view.dtype;
    const DType expected = block_elements(stored) > 1 ? DType::float32 : stored;
    EXPECT_EQ(made.find(spec.name)->view.dtype, expected) << spec.name;
  }
  const SafetensorsFile weights(path("m") / "model.safetensors");
  const SafetensorsFile expected(kSource / "tests/golden/gguf/llama.safetensors");
  const char* const name = "model.layers.0.self_attn.q_proj.weight";
  EXPECT_TRUE(
      std::ranges::equal(weights.tensors().at(name).bytes, expected.tensors().at(name).bytes));
  EXPECT_EQ(read_whole_file(path("m") / "chat_template.jinja"), "{{ messages[0]['content'] }}");
  // Its merges name tokens that are not there.
  EXPECT_FALSE(fs::exists(path("m") / "tokenizer.json"));
  convert(golden, path("half"), DType::bfloat16);
  EXPECT_EQ(Checkpoint::open(path("half")).config().dtype, DType::bfloat16);
}

// A tokenizer with more tokens than the embeddings have rows, tied and not.
TEST_F(Convert, PadsTheVocabularyWhereTold) {
  for (const bool tied : {false, true}) {
    SCOPED_TRACE(tied);
    const fs::path from = path(tied ? "tied" : "untied");
    fs::create_directory(from);
    nlohmann::json config =
        nlohmann::json::parse(read_whole_file(kForward / "llama_causal/config.json"));
    config["tie_word_embeddings"] = tied;
    std::vector<TensorSource> tensors;
    const SafetensorsFile golden(kForward / "llama_causal/model.safetensors");
    for (const auto& [name, view] : golden.tensors()) {
      if (!tied || name != "lm_head.weight") tensors.push_back(copied_tensor(name, view));
    }
    write_safetensors(from / "model.safetensors", std::move(tensors));
    const std::int64_t rows = config["vocab_size"];
    nlohmann::json vocab;
    for (std::int64_t i = 0; i < rows + 3; ++i)
      vocab[std::string(1, static_cast<char>('!' + i))] = i;
    const nlohmann::json tokenizer = {
        {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
        {"decoder", {{"type", "ByteLevel"}}},
        {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", nlohmann::json::array()}}}};
    const std::string folder = from.filename().string();
    directory_.write(folder + "/config.json", config.dump());
    directory_.write(folder + "/tokenizer.json", tokenizer.dump());
    EXPECT_THAT(refused(from, path("m.gguf")), HasSubstr("(with --pad-vocab the embeddings get"));

    const auto silent = [](const std::string&) {};
    const fs::path file = path(folder + ".gguf");
    convert_model(from, file, {.pad_vocab = true, .warn = silent, .progress = {}});
    const Checkpoint padded = Checkpoint::open(file, silent);
    EXPECT_EQ(padded.config().vocab_size, rows + 3);
    for (const char* name : {"model.embed_tokens.weight", "lm_head.weight"}) {
      const StoredTensor* stored = padded.find(name);
      ASSERT_EQ(stored != nullptr, !tied || std::string_view(name) != "lm_head.weight");
      if (stored == nullptr) continue;
      std::vector<float> row(static_cast<std::size_t>(stored->view.shape[1]));
      std::vector<double> sums(row.size());
      for (std::int64_t i = 0; i < rows; ++i) {
        stored->read_row(i, row);
        for (std::size_t k = 0; k < row.size(); ++k) sums[k] += row[k];
      }
      for (std::int64_t i = rows; i < rows + 3; ++i) {
        stored->read_row(i, row);
        for (std::size_t k = 0; k < row.size(); ++k) {
          EXPECT_EQ(row[k], static_cast<float>(sums[k] / static_cast<double>(rows)));
        }
      }
    }
    convert_model(file, path(folder + "_back"), {.warn = silent, .progress = {}});
    EXPECT_EQ(Checkpoint::open(path(folder + "_back"), silent).config().vocab_size, rows + 3);
    quantize_model(from, path(folder + "_q.gguf"), "F16",
                   {.pad_vocab = true, .warn = silent, .progress = {}});
    EXPECT_EQ(Checkpoint::open(path(folder + "_q.gguf"), silent).config().vocab_size, rows + 3);
  }
  EXPECT_THAT(refusal([&] {
                convert_model(path("tied.gguf"), path("n"),
                              {.pad_vocab = true, .warn = {}, .progress = {}});
              }),
              HasSubstr("expected a directory to a .gguf file with --pad-vocab"));
}

TEST_F(Convert, RefusesWhatCannotBeHeld) {
  EXPECT_THAT(refused(kForward / "diffllama_qa", path("m.gguf")),
              HasSubstr("expected a DiffLlamaForCausalLM, the one class that GGUF holds, got "
                        "DiffLlamaForQuestionAnswering"));
  EXPECT_THAT(refused(kForward / "llama_rope_dynamic", path("m.gguf")),
              HasSubstr("rope_type: expected default, linear, yarn, longrope or llama3"));
  EXPECT_FALSE(fs::exists(path("m.gguf")));
}

TEST_F(Convert, RefusesPathsThatDoNotFit) {
  const fs::path golden = kForward / "llama_causal";
  convert(golden, path("m.gguf"));
  const std::string before = read_whole_file(path("m.gguf"));
  EXPECT_THAT(refused(path("m.gguf"), path("m.gguf")), HasSubstr("expected another path"));
  EXPECT_THAT(refused(path("m.gguf"), path("n.gguf")),
              HasSubstr("expected a directory for a GGUF file, got a .gguf file"));
  EXPECT_THAT(refused(golden, path("n")),
              HasSubstr("expected a .gguf file for a directory, got another name"));
  EXPECT_THAT(refused(path("m.gguf"), directory_.path()),
              HasSubstr("expected no such path or an empty directory, got a directory with files"));
  EXPECT_THAT(refusal([&] { quantize(path("m.gguf"), path("m.gguf"), "Q8_0"); }),
              HasSubstr("expected another path"));
  EXPECT_THAT(refusal([&] { quantize(golden, path("m"), "Q8_0"); }),
              HasSubstr("expected the name of a .gguf file"));
  EXPECT_EQ(read_whole_file(path("m.gguf")), before);
}

// Dimensions larger than the data (CVE-2026-7482), on both paths; what was there stays.
TEST_F(Convert, AFailureLeavesWhatWasThere) {
  GgufTestWriter file;
  file.add("general.architecture", "llama");
  file.add_info("token_embd.weight", {4096, 4096}, 0, 0);
  file.data = std::string(64, '\0');
  const fs::path broken = directory_.write("broken.gguf", file.bytes());
  directory_.write("old.gguf", "old");
  EXPECT_THAT(refused(broken, path("out")), HasSubstr("bytes of tensor data"));
  EXPECT_FALSE(fs::exists(path("out")));
  EXPECT_THAT(refusal([&] { quantize(broken, path("old.gguf"), "Q8_0"); }),
              HasSubstr("bytes of tensor data"));
  EXPECT_EQ(read_whole_file(path("old.gguf")), "old");
  for (const auto& entry : fs::directory_iterator(directory_.path())) {
    EXPECT_THAT(entry.path().filename().string(), testing::Not(HasSubstr(".tmp")));
  }
}

TEST_F(Convert, QuantisesTheSameBytesWithAnyThreads) {
  const fs::path tiny = kSource / "models/diffllama-tiny";
  quantize(tiny, path("one.gguf"), "Q4_K_M", 1);
  EXPECT_THAT(warnings_, IsEmpty());
  quantize(tiny, path("three.gguf"), "q4_k_m", 3);
  expect_same_file(path("one.gguf"), path("three.gguf"));
  // Again from a quantised file: a warning, and tensors that have their type are copied.
  quantize(path("one.gguf"), path("again.gguf"), "Q4_K_M");
  EXPECT_THAT(warnings_, IsEmpty());
  const GgufFile one(path("one.gguf"));
  const GgufFile again(path("again.gguf"));
  for (const auto& [name, view] : one.tensors()) {
    EXPECT_TRUE(std::ranges::equal(view.bytes, again.tensors().at(name).bytes)) << name;
  }
  quantize(path("one.gguf"), path("other.gguf"), "Q8_0");
  EXPECT_THAT(warnings_, testing::ElementsAre(HasSubstr("some tensors are quantised already")));
}

TEST_F(Convert, AQuantisedFileSaysSoInItsDirectory) {
  const fs::path golden = kForward / "llama_causal";
  quantize(golden, path("m.gguf"), "F16");
  const GgufFile file(path("m.gguf"));
  EXPECT_EQ(file.integer("general.file_type"), 1);
  EXPECT_EQ(file.integer("general.quantization_version"), 2);
  convert(path("m.gguf"), path("m"));
  EXPECT_EQ(Checkpoint::open(path("m")).config().dtype, DType::float16);
}

// A model of one layer with weights of 32 columns, one of which is broken.
class QuantizeBroken : public Convert {
 protected:
  std::string refused_with(float value, const char* type) {
    GgufTestWriter file;
    file.add("general.architecture", "llama");
    for (const char* key : {"block_count", "attention.head_count"}) {
      file.add(std::string("llama.") + key, key[0] == 'b' ? 1U : 4U);
    }
    file.add("llama.context_length", 64U);
    file.add("llama.embedding_length", 32U);
    file.add("llama.feed_forward_length", 32U);
    file.add("llama.attention.layer_norm_rms_epsilon", 1e-6F);
    file.add_counting("token_embd.weight", {32, 4});
    for (const char* name : {"output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"}) {
      file.add_counting(std::string(name) + ".weight", {32});
    }
    for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up"}) {
      file.add_counting("blk.0." + std::string(name) + ".weight", {32, 32});
    }
    std::string bytes(4096, '\0');
    bytes.replace(280, 4, raw(value));
    file.add_tensor("blk.0.ffn_down.weight", {32, 32}, 0, bytes);
    return refusal([&] { quantize(directory_.write("m.gguf", file.bytes()), path("out"), type); });
  }
  std::string refused_as(float value, const char* type) {
    out_ = std::string(type) + ".gguf";
    return refused_with(value, type);
  }
  fs::path path(const std::string& name) const {
    return Convert::path(name == "out" ? out_ : name);
  }
  std::string out_ = "out.gguf";
};

TEST_F(QuantizeBroken, NamesTheTensor) {
  for (const char* type : {"Q8_0", "Q4_0", "Q4_K_M", "BF16", "F32"}) {
    SCOPED_TRACE(type);
    EXPECT_THAT(refused_as(NAN, type),
                HasSubstr("m.gguf: tensor blk.0.ffn_down.weight: expected finite weights, got nan "
                          "in row 2"));
    EXPECT_THAT(refused_as(-INFINITY, type), HasSubstr("expected finite weights, got -inf"));
    EXPECT_FALSE(fs::exists(path("out")));
  }
  EXPECT_THAT(refused_as(1e6F, "F16"), HasSubstr("expected weights that fit float16, got 1000000"));
  EXPECT_THAT(refused_as(1e9F, "Q8_0"), HasSubstr("expected weights that fit q8_0"));
  EXPECT_EQ(refused_as(6e4F, "F16"), "accepted");
}

}  // namespace
}  // namespace diffllama
