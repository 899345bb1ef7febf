#pragma once

#include <vector>

#include "kernels/gemm.h"

namespace diffllama::reference {

/// gemm.h in float64. `sums` [m, n] is C, and `magnitudes` the same sums of absolute values, which
/// bound what rounding may do.
struct GemmSums {
  std::vector<double> sums, magnitudes;
};
GemmSums gemm(ProductType type, const GemmArgs& args);

}  // namespace diffllama::reference
