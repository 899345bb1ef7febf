#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/buffer.h"
#include "base/parallel.h"
#include "config/attention_descriptor.h"
#include "diffllama/config.h"
#include "model/activation_tape.h"
#include "model/sequence_step.h"
#include "model/weights.h"
#include "training/backward/attention_backward.h"
#include "training/backward/linear_backward.h"

namespace diffllama {

/// Scratch of a layer's backward; grows and is used again.
struct DecoderLayerBackwardScratch {
  Buffer<float> normed, d_normed, reciprocal_rms;  // [N, C], [N, C], [N]
  Buffer<float> activated, d_activated, d_gate;    // [N, F]; the gradient of up is d_activated
  Buffer<float> d_attended, d_queries, d_keys, d_values, d_lambdas;  // as LayerActivations has them
  Buffer<float> d_mapped, d_dex;                         // of a head of DEX: [N, d], [d, d]
  Buffer<float> d_raw_queries, d_raw_keys, d_poly_norm;  // and [N, 4]
  AttentionBackwardScratch attention;
};

/// The layer whose backward is run. N tokens, all of one forward.
struct DecoderLayerGradient {
  const ModelConfig& config;
  const AttentionDescriptor& attention;
  const LayerWeights& weights;
  std::int64_t layer;
  std::string prefix;  // "model.layers.0."
  std::int64_t tokens;
  const LayerActivations& activations;
  const StepRows& rows;  // of the forward
  float dex_scale = 1;   // as GradientModel has it
};

/// The backward of decoder_layer() (model/decoder_layer.cpp): dx [N, C], the
/// gradient of the residual stream after the layer, becomes the one before it; gradients of the
/// layer's parameters are added. `linear` must have been made for the same parameters.
void decoder_layer_backward(const DecoderLayerGradient& layer, const Parameters& parameters,
                            GradientMap& gradients, LinearBackward& linear, float* dx,
                            DecoderLayerBackwardScratch& scratch, const Parallel& parallel);

/// The backward of y = RMSNorm(x) * weight for N rows of C: dx += its gradient; that of the weight,
/// where `d_weight` is not null, is added. `reciprocal_rms` is scratch for N values.
void rms_norm_rows_backward(const float* x, const float* weight, float eps, const Rows& dy,
                            float* dx, float* d_weight, Buffer<float>& reciprocal_rms,
                            const Parallel& parallel);

}  // namespace diffllama
