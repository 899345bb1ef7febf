#pragma once

#include <array>
#include <cstddef>

namespace diffllama {

/// The matrices that a decoder layer may have, in the order in which they are named, stored and
/// packed.
enum class LayerMatrix {
  q_proj,
  k_proj,
  v_proj,
  o_proj,
  gate_proj,
  up_proj,
  down_proj,
  lambda_proj
};

struct LayerMatrixNames {
  const char* name;       // transformers', behind "model.layers.N."
  const char* gguf_name;  // behind "blk.N."
};

/// The one table of their names, in the order of LayerMatrix.
inline constexpr std::array<LayerMatrixNames, 8> kLayerMatrices = {{
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"self_attn.lambda_proj", "attn_lambda_proj"},
}};

constexpr const LayerMatrixNames& names_of(LayerMatrix matrix) {
  return kLayerMatrices.at(static_cast<std::size_t>(matrix));
}

}  // namespace diffllama
