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
///   q8_0 and after     GGUF's block-quantised formats (quantized_panels.h), about as many bytes as
///   in a file; k is a multiple of the format's block
/// k is padded with zeros to padded_depth, the columns of the last panel with zeros to 32. 64-byte
/// aligned.
inline constexpr std::int64_t kPanelColumns = 32;

enum class PanelFormat : std::uint8_t {
  float32,
  float16,
  bfloat16,
  q8_0,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q4_k,
  q5_k,
  q6_k,
};
/// "float32", ..., "q6_k".
const char* panel_format_name(PanelFormat format);

/// The type products are computed in: float32 fma; bfloat16 pairs summed in float32; or int8 summed
/// exactly, then scaled in float32.
enum class ProductType : std::uint8_t { float32, bfloat16, int8 };

/// k for float32 and float16 panels; k rounded up to 32 (one AMX tile row, one step) for the
/// others.
std::int64_t padded_depth(PanelFormat format, std::int64_t k);
/// Bytes of one panel of depth k.
std::size_t panel_bytes(PanelFormat format, std::int64_t k);

/// One product: c[i][j] = sum over t in [0, k) of a[i][t] * w[j][t], for m rows and `columns`
/// columns.
struct PanelArgs {
  /// m rows of float32, of bfloat16 zero-padded to padded_depth(bfloat16, k), or for int8
  /// QuantizedRow (quantized_rows.h), 4-byte aligned. Any alignment else; fastest when the rows of
  /// a large product are an odd number of cache lines apart.
  const void* a = nullptr;
  std::int64_t lda = 0;  // elements between rows of a; bytes for int8
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
///   float32 compute: sum = fma(a, w, sum) for each k. avx2, avx512 (with or without BF16), amx and
///   reference/ give the same bits; portable multiplies, then adds, where the machine has no fma.
///   bfloat16 compute: avx512 vdpbf16ps, a pair of k at a time; avx512_vnni, avx2 and portable
///   widen, then as float32; amx tdpbf16ps, 32 of k at a time, whose even and odd values are summed
///   apart first, in one chain down all of k. The two instructions take subnormals as zero. int8
///   compute: over the k that share a scale (32, or 16 for q6_k) the products of the row's quants
///   and the weight's, less its offset, are summed exactly; then total = fma(float(sum), scale *
///   row scale, total), then for formats with minima total = fma(minimum, row scale * sum of the
///   row's quants, total), in ascending order down all of k from zero. q8_0 and q6_k then go on
///   with the row's residual blocks, in ascending order, each with the weights of its block. Every
///   ISA gives the same bits.
using PanelProduct = void (*)(const PanelArgs&);

/// The kernel for panels of `format` computing in `type` on `isa`. Formats and types: float32,
/// float16 and bfloat16 panels compute in float32; bfloat16 ones in bfloat16 too; block-quantised
/// ones in int8. Throws InvalidArgument for other pairs.
PanelProduct panel_product(PanelFormat format, ProductType type, Isa isa);

}  // namespace diffllama
