#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/isa.h"

namespace diffllama {

/// The packed layout: a matrix W [n, k] (y = x W^T) is cut into panels of 32 of its n
/// rows, which are the product's output columns. A panel is contiguous, its reduction dimension k
/// outermost:
///   float32, float16   panel[k][32]
///   bfloat16           panel[k/2][32][2], pairs of successive k side by side (what vdpbf16ps and
///   AMX read)
///   q8_0, q4_0, q4_1   for every 32 of k: the float16 scales of the 32 columns (q4_1: then their
///   float16 minima), then the quants: q8_0 int8 [32 of k][32], q4_0 and q4_1 bytes [16][32] that
///   hold an even k in their low half and the next k in the high one. As many bytes as in a file
/// k is padded with zeros to padded_depth, the columns of the last panel with zeros to 32. 64-byte
/// aligned.
inline constexpr std::int64_t kPanelColumns = 32;

enum class PanelFormat : std::uint8_t { float32, float16, bfloat16, q8_0, q4_0, q4_1 };
/// The type products are computed in: float32 fma, or bfloat16 pairs summed in float32.
enum class ProductType : std::uint8_t { float32, bfloat16 };

/// k for float32 and float16 panels; k rounded up to 32 (one AMX tile row, one block) for the
/// others.
std::int64_t padded_depth(PanelFormat format, std::int64_t k);
/// Bytes of one panel of depth k.
std::size_t panel_bytes(PanelFormat format, std::int64_t k);

/// One product: c[i][j] = sum over t in [0, k) of a[i][t] * w[j][t], for m rows and `columns`
/// columns.
struct PanelArgs {
  /// m rows of float32, or of bfloat16 zero-padded to padded_depth(bfloat16, k). Any alignment;
  /// fastest when the rows of a large bfloat16 product are an odd number of cache lines apart.
  const void* a = nullptr;
  std::int64_t lda = 0;  // elements between rows of a
  std::int64_t m = 0;
  const std::byte* panels = nullptr;  // ceil(columns / 32) panels
  std::size_t panel_stride = 0;       // bytes between panels
  std::int64_t columns = 0;
  std::int64_t k = 0;
  float* c = nullptr;  // m rows; columns past `columns` are not touched
  std::int64_t ldc = 0;
  bool accumulate = false;  // add to c, which holds the sums of a multiple of kSumBlock before k
};

/// Partial sums run over this many of k: an error of summation then grows with the square root of
/// k / 256 + 256, not of k.
inline constexpr std::int64_t kSumBlock = 256;

/// Single-threaded; never allocates. Order of summation: k is cut into blocks of kSumBlock, each
/// summed from zero, in ascending order; the blocks' sums are added in ascending order. So a row's
/// result does not depend on m, on the other rows or on how columns are split.
///   float32 compute: sum = fma(a, w, sum) for each k. avx2, avx512, amx and reference/ give the
///   same bits; portable multiplies, then adds, where the machine has no fma.
///   bfloat16 compute: avx512 vdpbf16ps, a pair of k at a time; avx2 and portable widen, then as
///   float32; amx tdpbf16ps, 32 of k at a time, whose even and odd values are summed apart first,
///   in one chain down all of k. The two instructions take subnormals as zero.
///   q8_0, q4_0, q4_1: each weight is scale * quant (+ minimum) in float32, rounded to bfloat16;
///   then as bfloat16 panels, with the same bits.
using PanelProduct = void (*)(const PanelArgs&);

/// The kernel for panels of `format` computing in `type` on `isa`. Formats and types: float32,
/// float16 and bfloat16 panels compute in float32; bfloat16 and block-quantised ones compute in
/// bfloat16 (a is then bfloat16). Throws
/// InvalidArgument for other pairs.
PanelProduct panel_product(PanelFormat format, ProductType type, Isa isa);

}  // namespace diffllama
