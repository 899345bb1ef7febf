#include "diffllama/tensor.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

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

// Throws InvalidArgument for rows that are no whole blocks, and sizes that no memory has.
std::size_t byte_count_of(DType dtype, const Shape& shape) {
  const auto block = static_cast<std::int64_t>(block_elements(dtype));
  const std::int64_t inner = shape.empty() ? 1 : shape.back();
  if (inner % block != 0) {
    throw InvalidArgument("[tensor] expected rows of whole blocks of " + std::to_string(block) +
                          " for " + std::string(dtype_name(dtype)) + ", got shape " +
                          to_string(shape));
  }
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(static_cast<std::size_t>(element_count(shape) / block),
                             block_bytes(dtype), &bytes)) {
    throw InvalidArgument("[tensor] expected fewer bytes than 2^64, got shape " + to_string(shape));
  }
  return bytes;
}

void check_bytes(const TensorView& view, std::size_t expected) {
  if (view.bytes.size() == expected) return;
  throw InvalidArgument("[tensor] expected " + std::to_string(expected) + " bytes for shape " +
                        to_string(view.shape) + " of " + std::string(dtype_name(view.dtype)) +
                        ", got " + std::to_string(view.bytes.size()));
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

bool is_aligned(const TensorView& view) {
  const std::size_t alignment =
      block_elements(view.dtype) == 1 ? block_bytes(view.dtype) : alignof(std::byte);
  return reinterpret_cast<std::uintptr_t>(view.bytes.data()) % alignment == 0;
}

Tensor::Tensor(DType dtype, Shape shape)
    : dtype_(dtype),
      shape_(std::move(shape)),
      count_(element_count(shape_)),
      byte_count_(byte_count_of(dtype, shape_)) {
  constexpr std::size_t kAlignment = 64;
  if (byte_count_ > SIZE_MAX - kAlignment) throw std::bad_alloc();
  const std::size_t padded = (byte_count_ + kAlignment - 1) / kAlignment * kAlignment;
  auto* data =
      static_cast<std::byte*>(std::aligned_alloc(kAlignment, std::max(padded, kAlignment)));
  if (data == nullptr) throw std::bad_alloc();
  std::memset(data, 0, std::max(padded, kAlignment));
  data_ = std::shared_ptr<const std::byte>(data,
                                           [data](const std::byte* /*same*/) { std::free(data); });
}

Tensor Tensor::from(const TensorView& view) {
  Tensor tensor(view.dtype, view.shape);
  check_bytes(view, tensor.byte_count_);
  std::ranges::copy(view.bytes, tensor.bytes().begin());
  return tensor;
}

Tensor Tensor::borrow(const TensorView& view, std::shared_ptr<const void> owner) {
  Tensor tensor;
  tensor.dtype_ = view.dtype;
  tensor.shape_ = view.shape;
  tensor.count_ = element_count(view.shape);
  tensor.byte_count_ = byte_count_of(view.dtype, view.shape);
  check_bytes(view, tensor.byte_count_);
  if (!is_aligned(view)) {
    throw InvalidArgument("[tensor] expected memory that begins at a multiple of " +
                          std::to_string(block_bytes(view.dtype)) + " for " +
                          std::string(dtype_name(view.dtype)) + ", got another address");
  }
  if (view.bytes.empty()) return {view.dtype, view.shape};
  tensor.borrowed_ = true;
  tensor.data_ = std::shared_ptr<const std::byte>(std::move(owner), view.bytes.data());
  return tensor;
}

// Memory of its own was made writable.
std::byte* Tensor::writable() {
  if (borrowed_) *this = Tensor(*this);
  return const_cast<std::byte*>(data_.get());
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
  return *this = from(other.view());
}

std::span<const float> Tensor::f32() const {
  if (dtype_ != DType::float32) wrong_dtype(DType::float32, dtype_);
  return {reinterpret_cast<const float*>(data_.get()), static_cast<std::size_t>(count_)};
}
std::span<float> Tensor::f32() {
  if (dtype_ != DType::float32) wrong_dtype(DType::float32, dtype_);
  return {reinterpret_cast<float*>(writable()), static_cast<std::size_t>(count_)};
}
std::span<const std::int64_t> Tensor::i64() const {
  if (dtype_ != DType::int64) wrong_dtype(DType::int64, dtype_);
  return {reinterpret_cast<const std::int64_t*>(data_.get()), static_cast<std::size_t>(count_)};
}
std::span<std::int64_t> Tensor::i64() {
  if (dtype_ != DType::int64) wrong_dtype(DType::int64, dtype_);
  return {reinterpret_cast<std::int64_t*>(writable()), static_cast<std::size_t>(count_)};
}

}  // namespace diffllama
