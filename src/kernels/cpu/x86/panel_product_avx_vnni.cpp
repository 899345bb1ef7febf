#include <immintrin.h>

#include "kernels/cpu/panel_kernels.h"
#include "kernels/cpu/quantized_product.h"
#include "kernels/cpu/x86/int8_avx2.h"
#include "kernels/cpu/x86/vnni_dot.h"

namespace diffllama {
namespace {

/// The int8 arithmetic of quantized_product.h with vpdpbusd in AVX2's registers.
struct Int8AvxVnni : Int8Avx2 {
  static constexpr bool kPrefetches = true;

  static Sums dpbusd(Sums sums, Bytes weights, Bytes row) {
    return _mm256_dpbusd_avx_epi32(sums, weights, row);
  }
  template <int kBits>
  using Dot = VnniDot<Int8AvxVnni>;
};

}  // namespace

/// AVX2's, but for quantised weights.
PanelKernels avx_vnni_panel_kernels() {
  PanelKernels kernels = avx2_panel_kernels();
  kernels.quantized = quantized_products<Int8AvxVnni>();
  return kernels;
}

}  // namespace diffllama
