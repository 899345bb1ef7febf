#include "checkpoint/tensor_source.h"

#include <utility>
#include <vector>

#include "checkpoint/codec/row_codec.h"
#include "diffllama/error.h"

namespace diffllama {

TensorSource copied_tensor(std::string name, const TensorView& view) {
  return {std::move(name), view.dtype, view.shape,
          [bytes = view.bytes](const TensorSource::Sink& sink) { sink(bytes); }};
}

TensorSource rounded_tensor(std::string name, DType dtype, Shape shape,
                            std::function<void(std::int64_t row, std::span<float> out)> read_row) {
  const std::int64_t columns = shape.empty() ? 1 : shape.back();
  const std::int64_t rows = columns == 0 ? 0 : element_count(shape) / columns;
  auto write = [=, read_row = std::move(read_row)](const TensorSource::Sink& sink) {
    std::vector<float> values(static_cast<std::size_t>(columns));
    std::vector<std::byte> bytes(values.size() * block_bytes(dtype));
    for (std::int64_t row = 0; row < rows; ++row) {
      read_row(row, values);
      encode_row(dtype, values, bytes);
      sink(bytes);
    }
  };
  return {std::move(name), dtype, std::move(shape), std::move(write)};
}

std::uint64_t byte_count(const TensorSource& tensor) {
  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(
          static_cast<std::uint64_t>(element_count(tensor.shape)) / block_elements(tensor.dtype),
          std::uint64_t{block_bytes(tensor.dtype)}, &bytes)) {
    throw InvalidArgument("[tensor_source] tensor " + tensor.name +
                          ": expected fewer bytes than 2^64, got shape " + to_string(tensor.shape));
  }
  return bytes;
}

void write_tensor(const TensorSource& tensor, const TensorSource::Sink& sink) {
  std::uint64_t written = 0;
  tensor.write([&](std::span<const std::byte> bytes) {
    sink(bytes);
    written += bytes.size();
  });
  if (written != byte_count(tensor)) {
    throw InvalidArgument("[tensor_source] tensor " + tensor.name + ": expected " +
                          std::to_string(byte_count(tensor)) + " bytes, got " +
                          std::to_string(written));
  }
}

}  // namespace diffllama
