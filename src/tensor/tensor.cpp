#include "diffllama/tensor.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "diffllama/error.h"

namespace diffllama {
namespace {

struct DTypeInfo {
  std::string_view name;
  std::size_t elements;
  std::size_t bytes;
};

// Indexed by DType.
constexpr DTypeInfo kDTypes[] = {
    {"float32", 1, 4},  {"float16", 1, 2},  {"bfloat16", 1, 2}, {"float64", 1, 8}, {"int64", 1, 8},
    {"int32", 1, 4},    {"int16", 1, 2},    {"int8", 1, 1},     {"uint8", 1, 1},   {"bool", 1, 1},
    {"q8_0", 32, 34},   {"q4_0", 32, 18},   {"q4_1", 32, 20},   {"q5_0", 32, 22},  {"q5_1", 32, 24},
    {"q4_k", 256, 144}, {"q5_k", 256, 176}, {"q6_k", 256, 210},
};

const DTypeInfo& info(DType dtype) { return kDTypes[static_cast<std::size_t>(dtype)]; }

[[noreturn]] void wrong_dtype(DType expected, DType found) {
  throw InvalidArgument("[tensor] expected dtype " + std::string(dtype_name(expected)) + ", got " +
                        std::string(dtype_name(found)));
}

}  // namespace

std::size_t block_elements(DType dtype) { return info(dtype).elements; }
std::size_t block_bytes(DType dtype) { return info(dtype).bytes; }
std::string_view dtype_name(DType dtype) { return info(dtype).name; }

std::int64_t element_count(const Shape& shape) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(count, size, &count)) {
      throw InvalidArgument("[tensor] expected sizes whose product is at most 2^63-1, got " +
                            to_string(shape));
    }
  }
  return count;
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i != 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

void Tensor::Free::operator()(std::byte* data) const { std::free(data); }

Tensor::Tensor(DType dtype, Shape shape)
    : dtype_(dtype), shape_(std::move(shape)), count_(element_count(shape_)) {
  const auto block = static_cast<std::int64_t>(block_elements(dtype));
  const std::int64_t inner = shape_.empty() ? 1 : shape_.back();
  if (inner % block != 0) {
    throw InvalidArgument("[tensor] expected rows of whole blocks of " + std::to_string(block) +
                          " for " + std::string(dtype_name(dtype)) + ", got shape " +
                          to_string(shape_));
  }
  if (__builtin_mul_overflow(static_cast<std::size_t>(count_ / block), block_bytes(dtype),
                             &byte_count_)) {
    throw InvalidArgument("[tensor] expected fewer bytes than 2^64, got shape " +
                          to_string(shape_));
  }
  constexpr std::size_t kAlignment = 64;
  if (byte_count_ > SIZE_MAX - kAlignment) throw std::bad_alloc();
  const std::size_t padded = (byte_count_ + kAlignment - 1) / kAlignment * kAlignment;
  data_.reset(
      static_cast<std::byte*>(std::aligned_alloc(kAlignment, std::max(padded, kAlignment))));
  if (!data_) throw std::bad_alloc();
  std::memset(data_.get(), 0, std::max(padded, kAlignment));
}

Tensor Tensor::from(std::span<const float> values, Shape shape) {
  Tensor tensor(DType::float32, std::move(shape));
  if (static_cast<std::size_t>(tensor.size()) != values.size()) {
    throw InvalidArgument("[tensor] expected " + std::to_string(tensor.size()) +
                          " values for shape " + to_string(tensor.shape()) + ", got " +
                          std::to_string(values.size()));
  }
  std::ranges::copy(values, tensor.f32().begin());
  return tensor;
}

Tensor Tensor::from(std::span<const std::int64_t> values, Shape shape) {
  Tensor tensor(DType::int64, std::move(shape));
  if (static_cast<std::size_t>(tensor.size()) != values.size()) {
    throw InvalidArgument("[tensor] expected " + std::to_string(tensor.size()) +
                          " values for shape " + to_string(tensor.shape()) + ", got " +
                          std::to_string(values.size()));
  }
  std::ranges::copy(values, tensor.i64().begin());
  return tensor;
}

Tensor::Tensor(const Tensor& other) : Tensor() { *this = other; }

Tensor& Tensor::operator=(const Tensor& other) {
  if (this == &other) return *this;
  if (!other.data_) return *this = Tensor();
  Tensor copy(other.dtype_, other.shape_);
  std::ranges::copy(other.bytes(), copy.bytes().begin());
  return *this = std::move(copy);
}

std::span<const float> Tensor::f32() const {
  if (dtype_ != DType::float32) wrong_dtype(DType::float32, dtype_);
  return {reinterpret_cast<const float*>(data_.get()), static_cast<std::size_t>(count_)};
}
std::span<float> Tensor::f32() {
  if (dtype_ != DType::float32) wrong_dtype(DType::float32, dtype_);
  return {reinterpret_cast<float*>(data_.get()), static_cast<std::size_t>(count_)};
}
std::span<const std::int64_t> Tensor::i64() const {
  if (dtype_ != DType::int64) wrong_dtype(DType::int64, dtype_);
  return {reinterpret_cast<const std::int64_t*>(data_.get()), static_cast<std::size_t>(count_)};
}
std::span<std::int64_t> Tensor::i64() {
  if (dtype_ != DType::int64) wrong_dtype(DType::int64, dtype_);
  return {reinterpret_cast<std::int64_t*>(data_.get()), static_cast<std::size_t>(count_)};
}

}  // namespace diffllama
