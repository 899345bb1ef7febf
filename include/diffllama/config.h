#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "diffllama/tensor.h"

namespace [[gnu::visibility("default")]] diffllama {

/// Receives one-line warnings (unknown keys, extra tensors). Where none is given they go to stderr
/// as "warning: ...".
using WarningHandler = std::function<void(const std::string&)>;

/// "model_type" of config.json: the family of differential attention, and Llama
/// (docs/variants.md).
enum class ModelType {
  diffllama,            // as transformers has it
  llama,                // ordinary attention
  diff_transformer,     // unilm's DIFF Transformer, version 1
  diff_transformer_v2,  // and version 2
  motif,                // Motif-2.6B and Motif-2-12.7B
};

/// Which class of transformers the checkpoint is: `architectures[0]` without the "DiffLlama",
/// "Llama", ... prefix.
enum class Architecture {
  base_model,               // DiffLlamaModel
  causal_lm,                // DiffLlamaForCausalLM
  sequence_classification,  // DiffLlamaForSequenceClassification
  question_answering,       // DiffLlamaForQuestionAnswering
  token_classification,     // DiffLlamaForTokenClassification
};

/// "hidden_act". swish is silu; gelu_new and gelu_pytorch_tanh are the tanh form; gelu_fast is
/// gelu_new with its constants written the other way. poly_norm has parameters of its own and is
/// Motif's alone.
enum class Activation {
  silu,
  gelu,
  gelu_new,
  gelu_pytorch_tanh,
  gelu_fast,
  quick_gelu,
  relu,
  relu2,
  tanh,
  sigmoid,
  poly_norm
};

/// "problem_type" of sequence classification.
enum class ProblemType { regression, single_label_classification, multi_label_classification };

enum class RopeType { default_rope, linear, dynamic, yarn, longrope, llama3 };

/// Rotary settings; transformers 5 "rope_parameters", before "rope_theta" and "rope_scaling".
/// Absent optionals are filled by the rule of modeling_rope_utils.py when the frequencies are
/// computed (model/rotary.h). Only the fields of `type` are set.
struct RopeParameters {
  RopeType type = RopeType::default_rope;
  double theta = 10000.0;
  std::optional<double> factor;  // linear, dynamic, yarn, longrope, llama3
  std::optional<std::int64_t> original_max_position_embeddings;  // absent: max_position_embeddings
  std::optional<double> attention_factor;                        // yarn, longrope
  std::optional<double> beta_fast, beta_slow, mscale, mscale_all_dim;  // yarn
  std::optional<bool> truncate;                                        // yarn
  std::optional<double> low_freq_factor, high_freq_factor;             // llama3
  std::vector<double> short_factor, long_factor;  // longrope, head_dim / 2 values each
  /// GGUF only: rope_freqs.weight, head_dim / 2 divisors of the inverse frequencies; used in place
  /// of `type`'s rule. config.json writes them as longrope factors, which compute the same bits.
  std::vector<double> frequency_divisors;
};

/// "dex" of a Llama: which query heads' outputs lose lambda f_D(output) (arXiv 2505.16333).
struct DexHeads {
  std::int64_t layer = 0;
  std::vector<std::int64_t> heads;  // the i-th has row i of dex_proj and dex_lambda
};

/// config.json of a member of the family (docs/model.md "Configuration", docs/variants.md);
/// defaults are transformers'.
struct ModelConfig {
  ModelType model_type = ModelType::diffllama;
  Architecture architecture = Architecture::causal_lm;
  std::int64_t vocab_size = 32000;
  std::int64_t hidden_size = 2048;
  std::int64_t intermediate_size = 8192;
  std::int64_t num_hidden_layers = 16;
  std::int64_t num_attention_heads = 32;  // softmax heads, H; twice the paper's heads
  std::int64_t num_key_value_heads = 32;  // null in the file: num_attention_heads
  std::int64_t head_dim = 64;             // null in the file: hidden_size / num_attention_heads
  Activation hidden_act = Activation::silu;
  std::int64_t max_position_embeddings = 2048;
  double initializer_range = 0.02;
  double rms_norm_eps = 1e-5;
  bool use_cache = true;
  std::optional<std::int64_t> pad_token_id;
  std::optional<std::int64_t> bos_token_id = 1;
  std::vector<std::int64_t> eos_token_ids = {2};  // an integer or a list in the file
  bool tie_word_embeddings = false;
  bool attention_bias = false;
  bool mlp_bias = false;         // llama; "use_bias" of motif
  std::optional<bool> qkv_bias;  // motif: in place of attention_bias for q, k and v
  bool qk_norm = false;          // llama: RMSNorm of each q and k head before the rotary embedding
  std::vector<DexHeads> dex;     // llama, by ascending layer
  bool rope_interleaved = true;  // diff_transformer*: rotary pairs are (2i, 2i + 1)
  bool kv_pairs = false;         // diff_transformer: pair p reads pair p / g of the key heads
  std::optional<double> lambda_init;  // diff_transformer: of every layer; absent: by depth
  double subln_eps = 1e-5;            // diff_transformer; "attn_rms_norm_eps" of motif
  std::optional<std::int64_t> num_noise_heads;  // motif; absent: half of the heads
  double lambda_std_dev = 0.1;
  RopeParameters rope;
  std::vector<std::string> labels = {"LABEL_0", "LABEL_1"};  // id2label, or num_labels names
  std::optional<ProblemType> problem_type;
  std::optional<double> classifier_dropout, hidden_dropout;
  bool token_classification_bias = true;  // token classification: score has a bias
  std::optional<DType> dtype;             // "dtype" or "torch_dtype"
  /// The file's text, kept so that save_pretrained and GGUF keep the fields that this engine does
  /// not read.
  std::string source_json;

  std::int64_t num_labels() const { return static_cast<std::int64_t>(labels.size()); }
  /// "DiffLlamaForCausalLM", "LlamaModel", ...: what `architectures` in the file says.
  std::string class_name() const;

  /// Reads the text of a config.json and validates it; messages start with `where`. Throws
  /// FormatError for text that is not a JSON object, ConfigError for a field that is not allowed.
  static ModelConfig from_json(std::string_view text, const std::string& where = "config.json",
                               const WarningHandler& warn = {});
  /// The text of a config.json, with the unknown fields of source_json; from_json reads it back as
  /// the same configuration. What transformers 5 and the versions before spell differently, it says
  /// in both ways.
  std::string to_json() const;
};

}  // namespace diffllama
