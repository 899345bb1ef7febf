#include <utility>

#include "checkpoint/checkpoint.h"

namespace diffllama {
namespace {

class Table {
 public:
  explicit Table(const ModelConfig& config)
      : config_(config), prefix_(base_model_prefix(config.architecture)) {}

  void add(std::string name, std::string gguf_name, Shape shape, std::int64_t rotary_heads = 0) {
    specs.push_back({std::move(name), std::move(gguf_name), std::move(shape), true, rotary_heads});
  }
  void add_base(const std::string& name, std::string gguf_name, Shape shape) {
    add(prefix_ + name, std::move(gguf_name), std::move(shape));
  }

  void add_layer(std::int64_t layer) {
    const std::string hf = prefix_ + "layers." + std::to_string(layer) + ".";
    const std::string gguf = "blk." + std::to_string(layer) + ".";
    const std::int64_t c = config_.hidden_size;
    const std::int64_t f = config_.intermediate_size;
    const std::int64_t q = config_.num_attention_heads * config_.head_dim;
    const std::int64_t kv = config_.num_key_value_heads * config_.head_dim;
    if (config_.model_type == ModelType::diffllama) {
      for (const char* vector : {"lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"}) {
        add(hf + "self_attn." + vector, gguf + "attn_" + vector + ".weight", {config_.head_dim});
      }
    }
    add_linear(hf + "self_attn.q_proj", gguf + "attn_q", q, c, config_.attention_bias,
               config_.num_attention_heads);
    add_linear(hf + "self_attn.k_proj", gguf + "attn_k", kv, c, config_.attention_bias,
               config_.num_key_value_heads);
    add_linear(hf + "self_attn.v_proj", gguf + "attn_v", kv, c, config_.attention_bias);
    add_linear(hf + "self_attn.o_proj", gguf + "attn_output", c, q, config_.attention_bias);
    const bool mlp_bias = config_.mlp_bias && config_.model_type == ModelType::llama;
    add_linear(hf + "mlp.gate_proj", gguf + "ffn_gate", f, c, mlp_bias);
    add_linear(hf + "mlp.up_proj", gguf + "ffn_up", f, c, mlp_bias);
    add_linear(hf + "mlp.down_proj", gguf + "ffn_down", c, f, mlp_bias);
    add(hf + "input_layernorm.weight", gguf + "attn_norm.weight", {c});
    add(hf + "post_attention_layernorm.weight", gguf + "ffn_norm.weight", {c});
  }

  void add_head() {
    const std::int64_t c = config_.hidden_size;
    const std::int64_t labels = config_.num_labels();
    switch (config_.architecture) {
      case Architecture::base_model:
        return;
      case Architecture::causal_lm:
        add("lm_head.weight", "output.weight", {config_.vocab_size, c});
        specs.back().required = !config_.tie_word_embeddings;
        return;
      case Architecture::sequence_classification:
        return add("score.weight", "", {labels, c});
      case Architecture::question_answering:
        return add_linear("qa_outputs", "", 2, c, true);
      case Architecture::token_classification:
        return add_linear("score", "", labels, c, config_.token_classification_bias);
    }
  }

  std::vector<TensorSpec> specs;

 private:
  void add_linear(const std::string& name, const std::string& gguf_name, std::int64_t out,
                  std::int64_t in, bool bias, std::int64_t rotary_heads = 0) {
    const auto gguf = [&](const char* part) { return gguf_name.empty() ? "" : gguf_name + part; };
    add(name + ".weight", gguf(".weight"), {out, in}, rotary_heads);
    if (bias) add(name + ".bias", gguf(".bias"), {out}, rotary_heads);
  }

  const ModelConfig& config_;
  std::string prefix_;
};

}  // namespace

std::string base_model_prefix(Architecture architecture) {
  switch (architecture) {
    case Architecture::base_model:
      return "";
    case Architecture::question_answering:
      return "transformer.";
    default:
      return "model.";
  }
}

std::vector<TensorSpec> tensor_specs(const ModelConfig& config) {
  Table table(config);
  table.add_base("embed_tokens.weight", "token_embd.weight",
                 {config.vocab_size, config.hidden_size});
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) table.add_layer(layer);
  table.add_base("norm.weight", "output_norm.weight", {config.hidden_size});
  table.add_head();
  return std::move(table.specs);
}

}  // namespace diffllama
