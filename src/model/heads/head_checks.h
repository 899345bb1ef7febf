#pragma once

#include <string>

#include "diffllama/error.h"
#include "diffllama/tensor.h"

namespace diffllama {

/// Throws InvalidArgument unless `tensor` is `dtype` and `shape`.
inline void require_tensor(const char* name, const Tensor& tensor, DType dtype,
                           const Shape& shape) {
  if (tensor.dtype() == dtype && tensor.shape() == shape) return;
  throw InvalidArgument(std::string("[") + name + "] expected " + std::string(dtype_name(dtype)) +
                        " " + to_string(shape) + ", got " +
                        std::string(dtype_name(tensor.dtype())) + " " + to_string(tensor.shape()));
}

}  // namespace diffllama
