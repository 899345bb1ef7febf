#pragma once

#include <cstddef>
#include <cstdint>

#include "diffllama/config.h"
#include "kernels/isa.h"

namespace diffllama {

/// The functions of elementwise.h and quantized_rows.h on one ISA.
struct RowKernels {
  void (*rms_norm)(const float* x, const float* weight, float eps, float scale, float* y,
                   std::int64_t n);
  void (*rotary_embed)(float* x, const float* cos, const float* sin, std::int64_t d);
  void (*softmax)(float* x, std::int64_t n, float scale);
  void (*subtract_scaled)(float* a1, const float* a2, float lambda, std::int64_t n);
  void (*gated_activation)(Activation activation, const float* gate, const float* up, float* out,
                           std::int64_t n);
  void (*add_to)(float* y, const float* x, std::int64_t n);
  void (*to_bfloat16)(const float* x, std::uint16_t* y, std::int64_t n);
  void (*from_bfloat16)(const std::uint16_t* x, float* y, std::int64_t n);
  void (*quantize_row)(const float* x, std::int64_t k, std::byte* out);
};

RowKernels portable_row_kernels();
RowKernels avx2_row_kernels();
RowKernels avx512_row_kernels();

/// Those of `isa`; amx has avx512's.
RowKernels row_kernels(Isa isa);

}  // namespace diffllama
