#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "diffllama/tensor.h"

namespace diffllama {

/// A tensor to be written to a file.
struct TensorSource {
  using Sink = std::function<void(std::span<const std::byte>)>;

  std::string name;
  DType dtype = DType::float32;
  Shape shape;
  /// Gives the tensor's bytes to the sink, in order, in as many pieces as it likes.
  std::function<void(const Sink&)> write;
};

/// The bytes as they are; `view` must live until they are written.
TensorSource copied_tensor(std::string name, const TensorView& view);
/// Rows of float32, rounded to `dtype` (float32, float16 or bfloat16). `read_row` fills row `row`
/// of the tensor seen as [rows, last size]; a vector is one row.
TensorSource rounded_tensor(std::string name, DType dtype, Shape shape,
                            std::function<void(std::int64_t row, std::span<float> out)> read_row);

/// Bytes that the tensor takes. Throws InvalidArgument past 2^64-1.
std::uint64_t byte_count(const TensorSource& tensor);
/// Gives the tensor's bytes to `sink`. Throws InvalidArgument when they are not byte_count().
void write_tensor(const TensorSource& tensor, const TensorSource::Sink& sink);

}  // namespace diffllama
