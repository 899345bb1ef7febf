#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "diffllama/config.h"
#include "diffllama/model.h"
#include "diffllama/training.h"
#include "model/diffllama_model.h"
#include "model/forward_batch.h"
#include "model/parameters.h"
#include "model/weights.h"
#include "training/backward/decoder_layer_backward.h"
#include "training/backward/gradient_map.h"
#include "training/backward/head_backward.h"
#include "training/backward/loss_count.h"

namespace diffllama {

struct GradientOptions {
  /// What the loss is divided by; absent: the labels of this batch, as transformers does.
  std::optional<LossCount> denominator = std::nullopt;
  /// Keeps the input of each layer alone and runs the layer again in backward: the same bits.
  bool recompute_activations = false;
  /// Training mode: dropout, drawn from this seed alone. Absent: evaluation mode.
  std::optional<std::uint64_t> dropout_seed = std::nullopt;
  /// Where wanted: takes what the forward gives (run_forward() of model/forward.h), which then runs
  /// also where no label counts.
  ForwardOutput* output = nullptr;
};

struct GradientResult {
  double loss = 0;  // sum / denominator, so that it adds up over micro-batches
  std::vector<LayerWatch> layers;
};

/// A model as backward needs it. `parameters` are row-major and hold what `weights` were packed
/// from.
struct GradientModel {
  const ModelConfig& config;
  const ModelWeights& weights;
  const DiffLlamaModel& stack;
  const Parameters& parameters;
  double lora_dropout = 0;  // of the adapter in `weights`, where there is one
  float dex_scale = 1;      // what DEX's lambdas in `weights` are of those in `parameters`
  HeadExamples examples = HeadExamples::rows;
};

/// Memory of a backward; grows to what the largest batch needs and is used again.
struct GradientScratch {
  ForwardScratch forward;
  ActivationTape tape;
  LayerActivations replayed;
  Buffer<float> dx;  // [N, C]
  LinearBackwardScratch linear;
  HeadBackwardScratch head;
  DecoderLayerBackwardScratch layer;
  Buffer<float> reciprocal_rms;
};

/// Runs the model on a batch with labels (model/forward.h, without a cache) and adds the gradient
/// of its loss to `gradients`. With no label that counts the loss is NaN and nothing is added.
/// Threads change no bit. Throws InvalidArgument naming the input.
GradientResult add_gradients(const GradientModel& model, const ForwardInputs& inputs,
                             const GradientOptions& options, GradientMap& gradients,
                             GradientScratch& scratch, const Parallel& parallel);

}  // namespace diffllama
