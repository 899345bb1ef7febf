#include "model/weights.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <optional>

#include "kernels/quantized_panels.h"

namespace diffllama {
namespace {

// Of a block-quantised type; nothing for the others.
std::optional<PanelFormat> quantized_format(DType stored) {
  switch (stored) {
    case DType::q8_0:
      return PanelFormat::q8_0;
    case DType::q4_0:
      return PanelFormat::q4_0;
    case DType::q4_1:
      return PanelFormat::q4_1;
    case DType::q5_0:
      return PanelFormat::q5_0;
    case DType::q5_1:
      return PanelFormat::q5_1;
    case DType::q4_k:
      return PanelFormat::q4_k;
    case DType::q5_k:
      return PanelFormat::q5_k;
    case DType::q6_k:
      return PanelFormat::q6_k;
    default:
      return std::nullopt;
  }
}

PanelFormat panel_format(DType stored, ProductType type) {
  const bool narrow = type == ProductType::bfloat16;
  if (const auto quantized = quantized_format(stored)) {
    return narrow ? *quantized : PanelFormat::float32;
  }
  if (stored == DType::bfloat16) return PanelFormat::bfloat16;
  if (narrow) return PanelFormat::bfloat16;
  return stored == DType::float16 ? PanelFormat::float16 : PanelFormat::float32;
}

class Packer {
 public:
  Packer(const Parameters& parameters, ProductType type, const Parallel& parallel)
      : parameters_(parameters), type_(type), parallel_(parallel) {}

  const Parameter& parameter(const std::string& name) const {
    const auto found = parameters_.find(name);
    assert(found != parameters_.end());
    return found->second;
  }
  std::vector<float> vector(const std::string& name) const {
    const Parameter& stored = parameter(name);
    std::vector<float> values(static_cast<std::size_t>(stored.columns()));
    stored.read_row(0, values);
    return values;
  }
  Linear linear(const std::string& name) const {
    const Parameter& stored = parameter(name + ".weight");
    Linear result;
    const PanelFormat format = panel_format(stored.dtype, type_);
    result.weight = is_quantized(format)
                        ? PackedMatrix::of_blocks(format, stored.rows(), stored.columns(),
                                                  stored.row_blocks, parallel_, memory_)
                        : PackedMatrix(format, stored.rows(), stored.columns(), stored.read_row,
                                       parallel_, memory_);
    stored.release();
    if (parameters_.contains(name + ".bias")) result.bias = vector(name + ".bias");
    return result;
  }

 private:
  const Parameters& parameters_;
  ProductType type_;
  const Parallel& parallel_;
  PanelMemory memory_;
};

LayerWeights pack_layer(const Packer& packer, const ModelConfig& config, const std::string& prefix,
                        std::int64_t layer) {
  LayerWeights weights;
  weights.input_layernorm = packer.vector(prefix + "input_layernorm.weight");
  weights.post_attention_layernorm = packer.vector(prefix + "post_attention_layernorm.weight");
  weights.q_proj = packer.linear(prefix + "self_attn.q_proj");
  weights.k_proj = packer.linear(prefix + "self_attn.k_proj");
  weights.v_proj = packer.linear(prefix + "self_attn.v_proj");
  weights.o_proj = packer.linear(prefix + "self_attn.o_proj");
  weights.gate_proj = packer.linear(prefix + "mlp.gate_proj");
  weights.up_proj = packer.linear(prefix + "mlp.up_proj");
  weights.down_proj = packer.linear(prefix + "mlp.down_proj");
  if (config.model_type == ModelType::diffllama) {
    const auto lambda = [&](const char* name) {
      return packer.vector(prefix + "self_attn.lambda_" + name);
    };
    weights.differential = {
        .lambda = differential_lambda(lambda("q1").data(), lambda("k1").data(), lambda("q2").data(),
                                      lambda("k2").data(), config.head_dim, layer),
        .output_scale = static_cast<float>(1.0 - lambda_init(layer)),
        .eps = static_cast<float>(config.rms_norm_eps)};
  }
  return weights;
}

std::array<const PackedMatrix*, 7> matrices(const LayerWeights& layer) {
  return {&layer.q_proj.weight,   &layer.k_proj.weight,    &layer.v_proj.weight,
          &layer.o_proj.weight,   &layer.gate_proj.weight, &layer.up_proj.weight,
          &layer.down_proj.weight};
}

}  // namespace

std::size_t ModelWeights::packed_bytes() const {
  std::size_t bytes = head.weight.bytes();
  for (const LayerWeights& layer : layers) {
    for (const PackedMatrix* matrix : matrices(layer)) bytes += matrix->bytes();
  }
  return bytes;
}

std::int64_t ModelWeights::layer_parameters() const {
  std::int64_t count = 0;
  for (const LayerWeights& layer : layers) {
    for (const PackedMatrix* matrix : matrices(layer)) count += matrix->n() * matrix->k();
  }
  return count;
}

std::string head_name(Architecture architecture) {
  switch (architecture) {
    case Architecture::base_model:
      return "";
    case Architecture::causal_lm:
      return "lm_head";
    case Architecture::question_answering:
      return "qa_outputs";
    default:
      return "score";
  }
}

ProductType product_type(ComputeType compute, const Parameters& parameters) {
  if (compute == ComputeType::float32) return ProductType::float32;
  if (compute == ComputeType::bfloat16) return ProductType::bfloat16;
  const bool full = std::ranges::all_of(parameters, [](const auto& entry) {
    const Parameter& parameter = entry.second;
    return parameter.shape.size() < 2 || parameter.dtype == DType::float32 ||
           parameter.dtype == DType::float16;
  });
  return full ? ProductType::float32 : ProductType::bfloat16;
}

ModelWeights pack_weights(const ModelConfig& config, const Parameters& parameters,
                          ComputeType compute, const Parallel& parallel) {
  ModelWeights weights;
  weights.product_type = product_type(compute, parameters);
  const Packer packer(parameters, weights.product_type, parallel);
  const std::string prefix = base_model_prefix(config.architecture);
  weights.embed_tokens = packer.parameter(prefix + "embed_tokens.weight");
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    weights.layers.push_back(
        pack_layer(packer, config, prefix + "layers." + std::to_string(layer) + ".", layer));
  }
  weights.norm = packer.vector(prefix + "norm.weight");
  const std::string head = head_name(config.architecture);
  if (!head.empty()) {
    // A tied model has no lm_head of its own, unless its file stores one all the same: then that
    // one counts.
    const bool tied = !parameters.contains(head + ".weight");
    weights.head = packer.linear(tied ? prefix + "embed_tokens" : head);
  }
  return weights;
}

}  // namespace diffllama
