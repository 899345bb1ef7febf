#include <utility>

#include "checkpoint/checkpoint.h"
#include "checkpoint/layer_matrices.h"
#include "config/attention_descriptor.h"

namespace diffllama {
namespace {

class Table {
 public:
  explicit Table(const ModelConfig& config)
      : config_(config),
        attention_(attention_descriptor(config)),
        prefix_(base_model_prefix(config.architecture)) {}

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
    const auto add_vector = [&](const char* name, const std::string& gguf_name, std::int64_t size,
                                std::int64_t rotary_heads = 0) {
      add(hf + name, gguf + gguf_name, {size}, rotary_heads);
    };
    if (attention_.lambda == LambdaRule::exponential) {
      for (const char* vector : {"lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"}) {
        add(hf + "self_attn." + vector, gguf + "attn_" + vector + ".weight", {config_.head_dim});
      }
    }
    for (std::size_t i = 0; i < kLayerMatrices.size(); ++i) {
      const MatrixShape matrix = shape_of(static_cast<LayerMatrix>(i));
      if (matrix.out == 0) continue;
      add_linear(hf + kLayerMatrices[i].name, gguf + kLayerMatrices[i].gguf_name, matrix);
    }
    if (attention_.norm == HeadNorm::weighted) {
      add_vector("self_attn.subln.weight", "attn_subln.weight", attention_.geometry.value_columns);
    }
    if (attention_.qk_norm) {  // each head's rows are in the order of q_proj's
      add_vector("self_attn.q_norm.weight", "attn_q_norm.weight", config_.head_dim, 1);
      add_vector("self_attn.k_norm.weight", "attn_k_norm.weight", config_.head_dim, 1);
    }
    for (const DexHeads& dex : config_.dex) {
      if (dex.layer != layer) continue;
      const auto heads = static_cast<std::int64_t>(dex.heads.size());
      const std::int64_t d = config_.head_dim;
      add(hf + "self_attn.dex_proj.weight", gguf + "attn_dex_proj.weight", {heads, d, d});
      add_vector("self_attn.dex_lambda", "attn_dex_lambda.weight", heads);
    }
    if (config_.hidden_act == Activation::poly_norm) {
      add_vector("mlp.act_fn.weight", "ffn_act.weight", 3);
      add_vector("mlp.act_fn.bias", "ffn_act.bias", 1);
    }
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
        return add_linear("qa_outputs", "", {2, c, true});
      case Architecture::token_classification:
        return add_linear("score", "", {labels, c, config_.token_classification_bias});
    }
  }

  std::vector<TensorSpec> specs;

 private:
  struct MatrixShape {
    std::int64_t out, in;  // out 0: the model has none
    bool bias;
    std::int64_t rotary_heads = 0;
  };

  MatrixShape shape_of(LayerMatrix matrix) const {
    const std::int64_t c = config_.hidden_size;
    const std::int64_t f = config_.intermediate_size;
    const std::int64_t q = config_.num_attention_heads * config_.head_dim;
    const std::int64_t kv = config_.num_key_value_heads * config_.head_dim;
    const std::int64_t outputs = attention_.geometry.output_width();
    const bool attention_bias = config_.attention_bias;
    const bool qkv_bias = config_.qkv_bias.value_or(attention_bias);
    const bool mlp_bias = config_.mlp_bias && config_.model_type != ModelType::diffllama;
    switch (matrix) {
      case LayerMatrix::q_proj:
        return {q, c, qkv_bias, config_.num_attention_heads};
      case LayerMatrix::k_proj:
        return {kv, c, qkv_bias, config_.num_key_value_heads};
      case LayerMatrix::v_proj:
        return {kv, c, qkv_bias};
      case LayerMatrix::o_proj:
        return {c, outputs, attention_bias};
      case LayerMatrix::gate_proj:
      case LayerMatrix::up_proj:
        return {f, c, mlp_bias};
      case LayerMatrix::down_proj:
        return {c, f, mlp_bias};
      case LayerMatrix::lambda_proj:
        break;
    }
    const bool by_token = attention_.lambda == LambdaRule::sigmoid;
    return {by_token ? attention_.geometry.output_heads() : 0, c, false};
  }

  void add_linear(const std::string& name, const std::string& gguf_name,
                  const MatrixShape& matrix) {
    const auto gguf = [&](const char* part) { return gguf_name.empty() ? "" : gguf_name + part; };
    add(name + ".weight", gguf(".weight"), {matrix.out, matrix.in}, matrix.rotary_heads);
    if (matrix.bias) add(name + ".bias", gguf(".bias"), {matrix.out}, matrix.rotary_heads);
  }

  const ModelConfig& config_;
  AttentionDescriptor attention_;
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
