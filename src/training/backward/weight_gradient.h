#pragma once

#include <cstdint>

#include "base/parallel.h"
#include "kernels/panel_product.h"
#include "training/backward/gradient_map.h"

namespace diffllama {

/// The gradient of W [out, in] in y = x W^T: gradient += dy^T x, of dy [rows, out] and x [rows, in]
/// in `type` (kernels/gemm.h). gradient.sum is not null.
void add_weight_gradient(ProductType type, const void* dy, std::int64_t out, const void* x,
                         std::int64_t in, std::int64_t rows, const GradientMap::Target& gradient,
                         const Parallel& parallel);

}  // namespace diffllama
