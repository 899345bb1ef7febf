#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>

#include "base/buffer.h"
#include "base/parallel.h"
#include "kernels/panel_product.h"
#include "model/parameters.h"
#include "model/weights.h"
#include "training/backward/gradient_map.h"
#include "training/backward/lora_backward.h"
#include "training/backward/rows.h"

namespace diffllama {

/// Scratch of LinearBackward; grows and is used again.
struct LinearBackwardScratch {
  Buffer<float> weight;
  Buffer<std::uint16_t> weight_bfloat16, x_bfloat16, dy_bfloat16;
  LoraBackwardScratch lora;
};

/// The backward of y = x W^T + b, model/weights.h's Linear: dW += dy^T x, db += the sum of dy's
/// rows, dx = dy W; its adapter's, where it has one, are added. Products in `type`, summed in
/// float32 (kernels/gemm.h); db sums rows in ascending order. Everything borrowed must outlive it;
/// parameters may not change meanwhile.
class LinearBackward {
 public:
  LinearBackward(const Parameters& parameters, GradientMap& gradients, ProductType type,
                 const std::optional<LoraDropout>& dropout, LinearBackwardScratch& scratch,
                 const Parallel& parallel)
      : parameters_(parameters),
        gradients_(gradients),
        type_(type),
        dropout_(dropout),
        scratch_(scratch),
        parallel_(parallel) {}

  struct Layer {
    std::string name;  // of its parameters, without ".weight"
    const Linear& linear;
    Rows dy;
  };
  /// Layers that read the same x: dx [N, in] is the sum of theirs in this order, or null where it
  /// is not wanted.
  void run(std::initializer_list<Layer> layers, const Rows& x, float* dx);
  const std::optional<LoraDropout>& dropout() const { return dropout_; }

 private:
  const void* converted(const Rows& rows, Buffer<std::uint16_t>& buffer) const;
  const void* weight(const std::string& name);

  const Parameters& parameters_;
  GradientMap& gradients_;
  ProductType type_;
  std::optional<LoraDropout> dropout_;
  LinearBackwardScratch& scratch_;
  const Parallel& parallel_;
  std::string in_scratch_;  // the weight that scratch holds
};

/// y[c] += the sum over rows of w_r a[r][c] b[r][c], rows in ascending order; w (one a row) and b
/// may be null: 1. What gradients of biases and norms are.
void add_column_sums(float* y, const float* w, const float* a, const float* b, std::int64_t rows,
                     std::int64_t columns, const Parallel& parallel);

}  // namespace diffllama
