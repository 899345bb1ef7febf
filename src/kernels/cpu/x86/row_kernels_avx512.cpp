#include "kernels/cpu/row_kernels_impl.h"
#include "kernels/cpu/x86/vector_avx512.h"

namespace diffllama {
namespace {

struct Avx512Bf16 : Avx512 {
  /// vcvtneps2bf16 makes 0 of subnormals: what products take them for.
  static void store_bfloat16_normal(std::uint16_t* p, Reg x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
  }
};

}  // namespace

/// AVX-512's without BF16, but for what is rounded to bfloat16 for products.
RowKernels avx512_row_kernels() {
  RowKernels kernels = avx512_vnni_row_kernels();
  kernels.weighted_sum_bfloat16 = weighted_sum_bfloat16<Avx512Bf16>;
  return kernels;
}

}  // namespace diffllama
