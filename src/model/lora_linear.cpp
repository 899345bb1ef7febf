#include "model/lora_linear.h"

#include <algorithm>
#include <array>

#include "base/random.h"
#include "kernels/gemm.h"
#include "kernels/gradients.h"

namespace diffllama {
namespace {

constexpr std::int64_t kRowsPerTask = 16;

}  // namespace

void lora_drop(const LoraModule& module, const LoraDropout& dropout, float* x, std::int64_t rows,
               const Parallel& parallel) {
  const std::int64_t width = module.matrices.in;
  const Random random(dropout.seed, module.stream);
  const auto factor = static_cast<float>(1.0 / (1.0 - dropout.probability));
  const double threshold = dropout.probability * 0x1p32;
  // Four values a block of random numbers; rows begin with a block of their own.
  const std::int64_t blocks = (width + 3) / 4;
  parallel.run((rows + kRowsPerTask - 1) / kRowsPerTask, [&](std::int64_t task, int) {
    const std::int64_t end = std::min(rows, (task + 1) * kRowsPerTask);
    for (std::int64_t row = task * kRowsPerTask; row < end; ++row) {
      for (std::int64_t block = 0; block < blocks; ++block) {
        const std::array<std::uint32_t, 4> words =
            random.block(static_cast<std::uint64_t>(row * blocks + block));
        float* values = x + row * width + block * 4;
        const std::int64_t count = std::min<std::int64_t>(4, width - block * 4);
        for (std::int64_t i = 0; i < count; ++i) {
          const bool dropped = static_cast<double>(words[static_cast<std::size_t>(i)]) < threshold;
          values[i] = dropped ? 0.0F : values[i] * factor;
        }
      }
    }
  });
}

const float* lora_input(const LoraModule& module, const std::optional<LoraDropout>& dropout,
                        const float* x, std::int64_t rows, LoraScratch& scratch,
                        const Parallel& parallel) {
  if (!dropout || dropout->probability <= 0) return x;
  const std::int64_t count = rows * module.matrices.in;
  float* copy = scratch.x.reserve(static_cast<std::size_t>(count));
  std::copy_n(x, count, copy);
  lora_drop(module, *dropout, copy, rows, parallel);
  return copy;
}

float* lora_low(const LoraMatrices& lora, const float* dropped, std::int64_t rows,
                LoraScratch& scratch, const Parallel& parallel) {
  float* low = scratch.low.reserve(static_cast<std::size_t>(rows * lora.rank));
  gemm(ProductType::float32,
       {.m = rows,
        .n = lora.rank,
        .k = lora.in,
        .a = dropped,
        .lda = lora.in,
        .b = lora.a.data(),
        .ldb = lora.in,
        .transpose_b = true,
        .c = low,
        .ldc = lora.rank},
       parallel);
  scale(low, lora.scaling, rows * lora.rank);
  return low;
}

void add_lora(const LoraModule& module, const std::optional<LoraDropout>& dropout, const float* x,
              std::int64_t rows, float* y, LoraScratch& scratch, const Parallel& parallel) {
  const LoraMatrices& lora = module.matrices;
  const float* dropped = lora_input(module, dropout, x, rows, scratch, parallel);
  gemm(ProductType::float32,
       {.m = rows,
        .n = lora.out,
        .k = lora.rank,
        .a = lora_low(lora, dropped, rows, scratch, parallel),
        .lda = lora.rank,
        .b = lora.b.data(),
        .ldb = lora.rank,
        .transpose_b = true,
        .c = y,
        .ldc = lora.out,
        .accumulate = true},
       parallel);
}

}  // namespace diffllama
