#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "checkpoint/layer_matrices.h"
#include "checkpoint/packed_file.h"
#include "diffllama/config.h"
#include "diffllama/model.h"
#include "kernels/matmul.h"
#include "model/attention.h"
#include "model/lora_linear.h"
#include "model/parameters.h"

namespace diffllama {

/// y = x W^T + b, packed for the products.
struct Linear {
  PackedMatrix weight;      // [out, in]
  std::vector<float> bias;  // [out], or empty
  /// Of a model whose adapter is being trained; a trained adapter is merged into the weight.
  std::optional<LoraModule> lora;

  const float* bias_or_null() const { return bias.empty() ? nullptr : bias.data(); }
};

/// DEX of a layer (arXiv 2505.16333): heads[i]'s output o becomes o - lambda[i] W_i o.
struct DexWeights {
  std::vector<std::int64_t> heads;  // none: the layer has no DEX
  std::vector<PackedMatrix> proj;   // [d, d]
  std::vector<float> lambda;
};

struct LayerWeights {
  std::vector<float> input_layernorm, post_attention_layernorm;  // [C]
  Linear q_proj, k_proj, v_proj, o_proj;  // [H d, C], [K d, C], [K d, C], [C, outputs of heads]
  Linear gate_proj, up_proj, down_proj;   // [F, C], [F, C], [C, F]
  Linear lambda_proj;                     // [output heads, C]; empty where lambda is one number
  DifferentialParameters differential;
  DexWeights dex;
  std::vector<float> q_norm, k_norm;  // [d], or empty
  std::vector<float> poly_norm;       // [4]: weights of x^3, x^2 and x, and the bias; or empty
};

/// Where each LayerMatrix lies.
inline constexpr std::array<Linear LayerWeights::*, kLayerMatrices.size()> kLayerLinears = {
    &LayerWeights::q_proj,    &LayerWeights::k_proj,      &LayerWeights::v_proj,
    &LayerWeights::o_proj,    &LayerWeights::gate_proj,   &LayerWeights::up_proj,
    &LayerWeights::down_proj, &LayerWeights::lambda_proj,
};

/// A model's weights, ready to compute; const once made, shared by every forward.
struct ModelWeights {
  Parameter embed_tokens;  // [V, C]; rows are read where they are stored, tied or not
  std::vector<LayerWeights> layers;
  std::vector<float> norm;  // [C]
  Linear head;              // lm_head, score or qa_outputs; empty for the base model
  std::string head_name;    // of the head's parameters, without ".weight"; embed_tokens' when tied
  ProductType product_type = ProductType::float32;

  /// Of all packed matrices: what one decoded token reads.
  std::size_t packed_bytes() const;
  /// Parameters of the layers' matrices, which every token is multiplied with.
  std::int64_t layer_parameters() const;
};

/// Sets Linear::lora of the layers' matrices, by the path of their module; others keep what they
/// have.
void attach_lora(const ModelConfig& config, const std::map<std::string, LoraModule>& modules,
                 ModelWeights& weights);

/// "lm_head", "score", "qa_outputs"; "" for the base model.
std::string head_of(Architecture architecture);

/// What products are computed in. automatic: float32 where every matrix is stored as float32 or
/// float16, else bfloat16.
ProductType product_type(ComputeType compute, const Parameters& parameters);
/// The option that asks for it.
ComputeType compute_type(ProductType products);

/// A matrix that pack_weights packs.
struct PackedMatrixSpec {
  std::string name;  // "model.layers.0.self_attn.q_proj"
  PanelFormat format;
  std::int64_t n, k;
};
/// All of them, in its order.
std::vector<PackedMatrixSpec> packed_matrices(const ModelConfig& config,
                                              const Parameters& parameters, ProductType type);
/// Those of packed weights, in the same order.
std::vector<const PackedMatrix*> packed_matrices(const ModelWeights& weights);

/// Packs the parameters tensor by tensor, releasing each as it is done. Products in float32 keep
/// float32, float16 and bfloat16 weights as stored and expand block-quantised ones to float32;
/// products in bfloat16 keep block-quantised weights as stored too, and pack all others as bfloat16
/// (rounded to nearest even). With a packed copy, whose blocks are packed_matrices(), nothing is
/// packed: matrices are the copy's. Others lie in `memory`.
ModelWeights pack_weights(const ModelConfig& config, const Parameters& parameters,
                          ComputeType compute, const Parallel& parallel,
                          const PackedFile* copy = nullptr, const PanelMemory& memory = {});

}  // namespace diffllama
