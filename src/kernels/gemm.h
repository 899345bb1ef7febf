#pragma once

#include <cstdint>

#include "base/parallel.h"
#include "kernels/panel_product.h"

namespace diffllama {

/// C [m, n] = op(A) op(B), or C += op(A) op(B). Row-major; all sizes >= 0, no alignment needed. C
/// may not overlap A or B.
struct GemmArgs {
  std::int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;  // float32, or the bits of bfloat16; [m, k], or [k, m] with transpose_a
  std::int64_t lda = 0;     // elements from row to row as stored, at least a row's length
  bool transpose_a = false;
  const void* b = nullptr;  // [k, n], or [n, k] with transpose_b
  std::int64_t ldb = 0;
  bool transpose_b = false;
  float* c = nullptr;
  std::int64_t ldc = 0;
  bool accumulate = false;
};

/// The products of training, whose matrices change with every step: oneDNN behind it, limited to
/// active_isa(), one thread of it for each of ours. `type` is that of A and B, float32 or bfloat16:
/// products of bfloat16 values are summed in float32 (where oneDNN has no instruction for them, the
/// values are widened and multiplied as float32; subnormals may count as zero where it has).
/// k = 0 gives zeros, or leaves C as it is with accumulate.
///
/// Order of sums: oneDNN's, which it chooses by the shape. C is cut into tiles that follow from m,
/// n and k alone, each computed by one thread: the same call gives the same bits with any number of
/// threads, within another run of `parallel` too. Another m or n may give a row other bits, so this
/// is not for inference (matmul.h).
///
/// Scratch stays with each thread, at most some megabytes. Throws InvalidArgument for another type,
/// a negative size or a leading dimension below the length of a row.
void gemm(ProductType type, const GemmArgs& args, const Parallel& parallel);
/// The same bits, in the calling thread: for products inside a task.
void gemm(ProductType type, const GemmArgs& args);

}  // namespace diffllama
