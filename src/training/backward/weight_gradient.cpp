#include "training/backward/weight_gradient.h"

#include "kernels/gemm.h"

namespace diffllama {

void add_weight_gradient(ProductType type, const void* dy, std::int64_t out, const void* x,
                         std::int64_t in, std::int64_t rows, const GradientMap::Target& gradient,
                         const Parallel& parallel) {
  gemm(type,
       {.m = out,
        .n = in,
        .k = rows,
        .a = dy,
        .lda = out,
        .transpose_a = true,
        .b = x,
        .ldb = in,
        .c = gradient.sum,
        .ldc = in,
        .accumulate = gradient.accumulate},
       parallel);
}

}  // namespace diffllama
