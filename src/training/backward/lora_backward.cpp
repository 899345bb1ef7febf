#include "training/backward/lora_backward.h"

#include <algorithm>
#include <string>

#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/gradients.h"
#include "training/backward/weight_gradient.h"

namespace diffllama {

void lora_backward(const LoraModule& module, const std::optional<LoraDropout>& dropout,
                   const Rows& x, const Rows& dy, float* dx, GradientMap& gradients,
                   LoraBackwardScratch& scratch, const Parallel& parallel) {
  const LoraMatrices& lora = module.matrices;
  const std::int64_t n = x.rows;
  const std::int64_t rank = lora.rank;
  float* d_low = scratch.d_low.reserve(static_cast<std::size_t>(n * rank));
  const float* dropped = lora_input(module, dropout, x.data, n, scratch.forward, parallel);

  if (const auto d_b = gradients.find_whole(module.module + ".lora_B.weight"); d_b.sum != nullptr) {
    const float* low = lora_low(lora, dropped, n, scratch.forward, parallel);
    add_weight_gradient(ProductType::float32, dy.data, lora.out, low, rank, n, d_b, parallel);
  }
  gemm(ProductType::float32,
       {.m = n,
        .n = rank,
        .k = lora.out,
        .a = dy.data,
        .lda = lora.out,
        .b = lora.b.data(),
        .ldb = rank,
        .c = d_low,
        .ldc = rank},
       parallel);
  scale(d_low, lora.scaling, n * rank);
  if (const auto d_a = gradients.find_whole(module.module + ".lora_A.weight"); d_a.sum != nullptr) {
    add_weight_gradient(ProductType::float32, d_low, rank, dropped, lora.in, n, d_a, parallel);
  }
  if (dx == nullptr) return;
  const bool drops = dropped != x.data;
  float* target = drops ? scratch.d_x.reserve(static_cast<std::size_t>(n * lora.in)) : dx;
  gemm(ProductType::float32,
       {.m = n,
        .n = lora.in,
        .k = rank,
        .a = d_low,
        .lda = rank,
        .b = lora.a.data(),
        .ldb = lora.in,
        .c = target,
        .ldc = lora.in,
        .accumulate = !drops},
       parallel);
  if (!drops) return;
  lora_drop(module, *dropout, target, n, parallel);
  add_to(dx, target, n * lora.in);
}

}  // namespace diffllama
