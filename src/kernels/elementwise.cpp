#include "kernels/elementwise.h"

#include "kernels/cpu/row_kernels.h"
#include "kernels/quantized_rows.h"

namespace diffllama {
namespace {

const RowKernels& active() {
  static const RowKernels kernels = row_kernels(active_isa());
  return kernels;
}

}  // namespace

RowKernels row_kernels(Isa isa) {
  switch (isa) {
    case Isa::portable:
      return portable_row_kernels();
    case Isa::avx2:
    case Isa::avx_vnni:
      return avx2_row_kernels();
    case Isa::avx512_vnni:
      return avx512_vnni_row_kernels();
    case Isa::avx512:
    case Isa::amx:
      return avx512_row_kernels();
  }
  return portable_row_kernels();
}

void rms_norm(const float* x, const float* weight, float eps, float scale, float* y,
              std::int64_t n) {
  active().rms_norm(x, weight, eps, scale, y, n);
}

void rotary_embed(float* x, const float* cos, const float* sin, std::int64_t d) {
  active().rotary_embed(x, cos, sin, d);
}

void rotary_embed_interleaved(float* x, const float* cos, const float* sin, std::int64_t d) {
  for (std::int64_t i = 0; i < d / 2; ++i) {
    const float low = x[2 * i];
    const float high = x[2 * i + 1];
    x[2 * i] = low * cos[i] - high * sin[i];
    x[2 * i + 1] = high * cos[i] + low * sin[i];
  }
}

SoftmaxBlock softmax_block(float* x, std::int64_t n, float factor) {
  return active().softmax_block(x, n, factor);
}

SoftmaxBlock softmax_block_float16(const float* x, std::int64_t n, float factor, std::uint16_t* y) {
  return active().softmax_block_float16(x, n, factor, y);
}

void softmax_weights(const float* tops, const float* sums, std::int64_t blocks, float scale,
                     float* weights) {
  active().softmax_weights(tops, sums, blocks, scale, weights);
}

void weighted_sum(const float* x1, float w1, const float* x2, float w2, float* y, std::int64_t n) {
  active().weighted_sum(x1, w1, x2, w2, y, n);
}

void weighted_sum_bfloat16(const std::uint16_t* x1, float w1, const std::uint16_t* x2, float w2,
                           std::uint16_t* y, std::int64_t n) {
  active().weighted_sum_bfloat16(x1, w1, x2, w2, y, n);
}

void gated_activation(Activation activation, const float* gate, const float* up, float* out,
                      std::int64_t n) {
  active().gated_activation(activation, gate, up, out, n);
}

void poly_norm(const float* gate, const float* up, const float* parameters, float* out,
               std::int64_t n) {
  active().poly_norm(gate, up, parameters, out, n);
}

void add_to(float* y, const float* x, std::int64_t n) { active().add_to(y, x, n); }

void to_bfloat16(const float* x, std::uint16_t* y, std::int64_t n) {
  active().to_bfloat16(x, y, n);
}

void from_bfloat16(const std::uint16_t* x, float* y, std::int64_t n) {
  active().from_bfloat16(x, y, n);
}

void quantize_row(const float* x, std::int64_t k, std::byte* out) {
  active().quantize_row(x, k, out);
}

void expand_q8_0(ScalesOf scales, const std::byte* panel, std::int64_t steps, std::uint16_t* out) {
  active().expand_q8_0(scales, panel, steps, out);
}

}  // namespace diffllama
