#pragma once

#include <cstddef>
#include <cstdint>

#include "diffllama/config.h"
#include "kernels/elementwise.h"
#include "kernels/isa.h"

namespace diffllama {

/// The functions of elementwise.h and quantized_rows.h on one ISA.
struct RowKernels {
  void (*rms_norm)(const float* x, const float* weight, float eps, float scale, float* y,
                   std::int64_t n);
  void (*rotary_embed)(float* x, const float* cos, const float* sin, std::int64_t d);
  SoftmaxBlock (*softmax_block)(float* x, std::int64_t n, float factor);
  SoftmaxBlock (*softmax_block_float16)(const float* x, std::int64_t n, float factor,
                                        std::uint16_t* y);
  void (*softmax_weights)(const float* tops, const float* sums, std::int64_t blocks, float scale,
                          float* weights);
  void (*weighted_sum)(const float* x1, float w1, const float* x2, float w2, float* y,
                       std::int64_t n);
  void (*weighted_sum_bfloat16)(const std::uint16_t* x1, float w1, const std::uint16_t* x2,
                                float w2, std::uint16_t* y, std::int64_t n);
  void (*gated_activation)(Activation activation, const float* gate, const float* up, float* out,
                           std::int64_t n);
  void (*poly_norm)(const float* gate, const float* up, const float* parameters, float* out,
                    std::int64_t n);
  void (*add_to)(float* y, const float* x, std::int64_t n);
  void (*to_bfloat16)(const float* x, std::uint16_t* y, std::int64_t n);
  void (*from_bfloat16)(const std::uint16_t* x, float* y, std::int64_t n);
  void (*quantize_row)(const float* x, std::int64_t k, std::byte* out);
  void (*expand_q8_0)(ScalesOf scales, const std::byte* panel, std::int64_t steps,
                      std::uint16_t* out);
};

RowKernels portable_row_kernels();
RowKernels avx2_row_kernels();
RowKernels avx512_vnni_row_kernels();
RowKernels avx512_row_kernels();

/// Those of `isa`; amx has avx512's.
RowKernels row_kernels(Isa isa);

}  // namespace diffllama
