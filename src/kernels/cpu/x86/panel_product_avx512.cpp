#include "kernels/cpu/panel_kernels.h"
#include "kernels/cpu/tile_product.h"
#include "kernels/cpu/x86/vector_avx512.h"

namespace diffllama {
namespace {

/// Pairs of bfloat16 through vdpbf16ps.
struct PairsStep : Float32Step<Avx512> {
  using A = std::uint16_t;
  using B = __m512bh;
  using Row = __m512bh;
  static constexpr std::int64_t kDepth = 2;
  static constexpr bool kPadded = true;
  static B load(const std::byte* b, std::int64_t column, int /*part*/) {
    return reinterpret_cast<B>(_mm512_loadu_si512(b + 4 * column));
  }
  static Row broadcast(const A* a, int /*part*/) {
    std::int32_t pair = 0;
    __builtin_memcpy(&pair, a, sizeof(pair));
    return reinterpret_cast<Row>(_mm512_set1_epi32(pair));
  }
  static __m512 multiply_add(Row a, B b, __m512 sum) { return _mm512_dpbf16_ps(sum, a, b); }
};

}  // namespace

/// AVX-512's without BF16, but for products of bfloat16.
PanelKernels avx512_panel_kernels() {
  PanelKernels kernels = avx512_vnni_panel_kernels();
  kernels.bfloat16_pairs = tile_product<Avx512, PairsStep>;
  return kernels;
}

}  // namespace diffllama
