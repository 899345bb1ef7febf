#pragma once

#include <string>

#include "diffllama/tensor.h"

namespace diffllama {

/// Throws InvalidArgument unless `tensor` is `dtype` and `shape`.
void require_tensor(const char* name, const Tensor& tensor, DType dtype, const Shape& shape);

}  // namespace diffllama
