#include "model/weights.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <optional>

#include "config/attention_descriptor.h"
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

std::string layer_prefix(const ModelConfig& config, std::int64_t layer) {
  return base_model_prefix(config.architecture) + "layers." + std::to_string(layer) + ".";
}

// A tied model has no lm_head of its own, unless its file stores one all the same: then that one
// counts. Nothing for the base model.
std::string head_matrix(const ModelConfig& config, const Parameters& parameters) {
  const std::string head = head_of(config.architecture);
  const bool tied = !head.empty() && !parameters.contains(head + ".weight");
  return tied ? base_model_prefix(config.architecture) + "embed_tokens" : head;
}

class Packer {
 public:
  Packer(const Parameters& parameters, ProductType type, const Parallel& parallel,
         const PackedFile* copy, const PanelMemory& memory)
      : parameters_(parameters), type_(type), parallel_(parallel), copy_(copy), memory_(memory) {}

  const Parameter& parameter(const std::string& name) const {
    const auto found = parameters_.find(name);
    assert(found != parameters_.end());
    return found->second;
  }
  bool has(const std::string& name) const { return parameters_.contains(name); }
  std::vector<float> vector(const std::string& name) const {
    const Parameter& stored = parameter(name);
    std::vector<float> values(static_cast<std::size_t>(stored.columns()));
    stored.read_row(0, values);
    return values;
  }
  /// Matrix i of a stack of [rows, ...]; small, so kept as products compute.
  PackedMatrix matrix_of(const std::string& name, std::int64_t i, std::int64_t rows) const {
    const Parameter& stored = parameter(name);
    const auto format =
        type_ == ProductType::bfloat16 ? PanelFormat::bfloat16 : PanelFormat::float32;
    return {format,
            rows,
            stored.columns(),
            [&](std::int64_t row, std::span<float> out) { stored.read_row(i * rows + row, out); },
            parallel_,
            memory_};
  }
  /// Matrices in the order of packed_matrices.
  Linear linear(const std::string& name) {
    Linear result;
    const Parameter& stored = parameter(name + ".weight");
    result.weight = copy_ != nullptr ? from_copy(stored) : pack(stored);
    if (parameters_.contains(name + ".bias")) result.bias = vector(name + ".bias");
    return result;
  }

 private:
  PackedMatrix pack(const Parameter& stored) const {
    const PanelFormat format = panel_format(stored.dtype, type_);
    PackedMatrix matrix = is_quantized(format)
                              ? PackedMatrix::of_blocks(format, stored.rows(), stored.columns(),
                                                        stored.row_blocks, parallel_, memory_)
                              : PackedMatrix(format, stored.rows(), stored.columns(),
                                             stored.read_row, parallel_, memory_);
    stored.release();
    return matrix;
  }

  PackedMatrix from_copy(const Parameter& stored) {
    return PackedMatrix::of_panels(panel_format(stored.dtype, type_), stored.rows(),
                                   stored.columns(), copy_->block(next_++));
  }

  const Parameters& parameters_;
  ProductType type_;
  const Parallel& parallel_;
  const PackedFile* copy_;
  std::size_t next_ = 0;  // of the copy's matrices
  const PanelMemory& memory_;
};

DifferentialParameters differential_parameters(const Packer& packer, const ModelConfig& config,
                                               std::int64_t layer) {
  const AttentionDescriptor attention = attention_descriptor(config);
  const std::string prefix = layer_prefix(config, layer) + "self_attn.";
  const double lambda_init = attention.lambda_init(layer);
  DifferentialParameters result;
  if (attention.lambda == LambdaRule::exponential) {
    const auto lambda = [&](const char* name) { return packer.vector(prefix + "lambda_" + name); };
    result.lambda =
        differential_lambda(lambda("q1").data(), lambda("k1").data(), lambda("q2").data(),
                            lambda("k2").data(), config.head_dim, lambda_init);
  }
  if (attention.norm == HeadNorm::none) return result;
  result.norm = true;
  result.output_scale = static_cast<float>(1.0 - lambda_init);
  result.eps = static_cast<float>(attention.norm_eps);
  if (attention.norm == HeadNorm::weighted) {
    result.norm_weight = packer.vector(prefix + "subln.weight");
  }
  return result;
}

DexWeights dex_weights(const Packer& packer, const ModelConfig& config, std::int64_t layer) {
  DexWeights weights;
  for (const DexHeads& dex : config.dex) {
    if (dex.layer != layer) continue;
    const std::string prefix = layer_prefix(config, layer) + "self_attn.dex_";
    weights.heads = dex.heads;
    weights.lambda = packer.vector(prefix + "lambda");
    for (std::size_t i = 0; i < dex.heads.size(); ++i) {
      weights.proj.push_back(
          packer.matrix_of(prefix + "proj.weight", static_cast<std::int64_t>(i), config.head_dim));
    }
  }
  return weights;
}

LayerWeights pack_layer(Packer& packer, const ModelConfig& config, std::int64_t layer) {
  const std::string prefix = layer_prefix(config, layer);
  LayerWeights weights;
  weights.input_layernorm = packer.vector(prefix + "input_layernorm.weight");
  weights.post_attention_layernorm = packer.vector(prefix + "post_attention_layernorm.weight");
  for (std::size_t i = 0; i < kLayerMatrices.size(); ++i) {
    const std::string name = prefix + kLayerMatrices[i].name;
    if (packer.has(name + ".weight")) weights.*kLayerLinears[i] = packer.linear(name);
  }
  weights.dex = dex_weights(packer, config, layer);
  weights.differential = differential_parameters(packer, config, layer);
  if (config.qk_norm) {
    weights.q_norm = packer.vector(prefix + "self_attn.q_norm.weight");
    weights.k_norm = packer.vector(prefix + "self_attn.k_norm.weight");
  }
  if (config.hidden_act == Activation::poly_norm) {
    weights.poly_norm = packer.vector(prefix + "mlp.act_fn.weight");
    weights.poly_norm.push_back(packer.vector(prefix + "mlp.act_fn.bias").front());
  }
  return weights;
}

}  // namespace

std::size_t ModelWeights::packed_bytes() const {
  std::size_t bytes = 0;
  for (const PackedMatrix* matrix : packed_matrices(*this)) bytes += matrix->bytes();
  return bytes;
}

std::int64_t ModelWeights::layer_parameters() const {
  std::int64_t count = -head.weight.n() * head.weight.k();
  for (const PackedMatrix* matrix : packed_matrices(*this)) count += matrix->n() * matrix->k();
  return count;
}

void attach_lora(const ModelConfig& config, const std::map<std::string, LoraModule>& modules,
                 ModelWeights& weights) {
  const auto attach = [&](const std::string& name, Linear& linear) {
    const auto found = modules.find(name);
    if (found != modules.end()) linear.lora = found->second;
  };
  for (std::size_t layer = 0; layer < weights.layers.size(); ++layer) {
    const std::string prefix = layer_prefix(config, static_cast<std::int64_t>(layer));
    for (std::size_t i = 0; i < kLayerMatrices.size(); ++i) {
      attach(prefix + kLayerMatrices[i].name, weights.layers[layer].*kLayerLinears[i]);
    }
  }
  attach(head_of(config.architecture), weights.head);
}

std::string head_of(Architecture architecture) {
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

ComputeType compute_type(ProductType products) {
  return products == ProductType::float32 ? ComputeType::float32 : ComputeType::bfloat16;
}

std::vector<PackedMatrixSpec> packed_matrices(const ModelConfig& config,
                                              const Parameters& parameters, ProductType type) {
  std::vector<PackedMatrixSpec> result;
  const auto add = [&](const std::string& name) {
    const Parameter& parameter = parameters.at(name + ".weight");
    result.push_back(
        {name, panel_format(parameter.dtype, type), parameter.rows(), parameter.columns()});
  };
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    for (const LayerMatrixNames& matrix : kLayerMatrices) {
      const std::string name = layer_prefix(config, layer) + matrix.name;
      if (parameters.contains(name + ".weight")) add(name);
    }
  }
  const std::string head = head_matrix(config, parameters);
  if (!head.empty()) add(head);
  return result;
}

std::vector<const PackedMatrix*> packed_matrices(const ModelWeights& weights) {
  std::vector<const PackedMatrix*> result;
  for (const LayerWeights& layer : weights.layers) {
    for (Linear LayerWeights::*const linear : kLayerLinears) {
      if ((layer.*linear).weight.n() > 0) result.push_back(&(layer.*linear).weight);
    }
  }
  if (weights.head.weight.n() > 0) result.push_back(&weights.head.weight);
  return result;
}

ModelWeights pack_weights(const ModelConfig& config, const Parameters& parameters,
                          ComputeType compute, const Parallel& parallel, const PackedFile* copy,
                          const PanelMemory& memory) {
  ModelWeights weights;
  weights.product_type = product_type(compute, parameters);
  Packer packer(parameters, weights.product_type, parallel, copy, memory);
  const std::string prefix = base_model_prefix(config.architecture);
  weights.embed_tokens = packer.parameter(prefix + "embed_tokens.weight");
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    weights.layers.push_back(pack_layer(packer, config, layer));
  }
  weights.norm = packer.vector(prefix + "norm.weight");
  weights.head_name = head_matrix(config, parameters);
  if (!weights.head_name.empty()) weights.head = packer.linear(weights.head_name);
  return weights;
}

}  // namespace diffllama
