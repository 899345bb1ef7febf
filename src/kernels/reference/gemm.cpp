#include "kernels/reference/gemm.h"

#include <cmath>

#include "tensor/half.h"

namespace diffllama::reference {
namespace {

double value(ProductType type, const void* x, std::int64_t at) {
  if (type == ProductType::float32) return static_cast<const float*>(x)[at];
  return bfloat16_to_float(static_cast<const std::uint16_t*>(x)[at]);
}

}  // namespace

GemmSums gemm(ProductType type, const GemmArgs& args) {
  GemmSums result;
  for (std::int64_t i = 0; i < args.m; ++i) {
    for (std::int64_t j = 0; j < args.n; ++j) {
      double sum = args.accumulate ? args.c[i * args.ldc + j] : 0.0;
      double magnitude = std::abs(sum);
      for (std::int64_t t = 0; t < args.k; ++t) {
        const std::int64_t at_a = args.transpose_a ? t * args.lda + i : i * args.lda + t;
        const std::int64_t at_b = args.transpose_b ? j * args.ldb + t : t * args.ldb + j;
        const double product = value(type, args.a, at_a) * value(type, args.b, at_b);
        sum += product;
        magnitude += std::abs(product);
      }
      result.sums.push_back(sum);
      result.magnitudes.push_back(magnitude);
    }
  }
  return result;
}

}  // namespace diffllama::reference
