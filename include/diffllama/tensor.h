#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace [[gnu::visibility("default")]] diffllama {

/// Element types of tensors, as safetensors and GGUF store them. The block-quantised ones (q8_0 and
/// after) are GGUF's: a row is a whole number of blocks.
enum class DType : std::uint8_t {
  float32,
  float16,
  bfloat16,
  float64,
  int64,
  int32,
  int16,
  int8,
  uint8,
  boolean,
  q8_0,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q4_k,
  q5_k,
  q6_k,
};

/// Elements in one block: 1 for plain types, 32 for q8_0, q4_0, q4_1, q5_0 and q5_1, 256 for q4_k,
/// q5_k and q6_k.
std::size_t block_elements(DType dtype);
/// Bytes of one block: the element's size for plain types, 34 for q8_0, 18 for q4_0, 20 for q4_1,
/// 22 for q5_0, 24 for q5_1, 144 for q4_k, 176 for q5_k, 210 for q6_k.
std::size_t block_bytes(DType dtype);
/// "float32", "bfloat16", "q8_0", ...: torch's names for plain types, GGUF's in lower case for
/// blocks.
std::string_view dtype_name(DType dtype);

/// Sizes, outermost first, as torch prints them. Rank 0 is a scalar with one element.
using Shape = std::vector<std::int64_t>;
/// Product of the sizes. Throws InvalidArgument for a negative size or a product past 2^63-1.
std::int64_t element_count(const Shape& shape);
/// "[2, 3, 4]"
std::string to_string(const Shape& shape);

/// Borrowed bytes with a shape: row-major, no alignment promised (a mapped file). Valid while its
/// owner lives.
struct TensorView {
  DType dtype = DType::float32;
  Shape shape;
  std::span<const std::byte> bytes;
};

/// Whether the bytes begin where an element (of a block-quantised type: a byte) may lie.
bool is_aligned(const TensorView& view);

/// A row-major array: in memory of its own, or in a caller's. Moves are cheap; a copy copies the
/// data, into memory of its own.
class Tensor {
 public:
  Tensor() = default;
  /// 64-byte aligned and zero-initialised. Throws InvalidArgument for a shape whose rows are no
  /// whole blocks of the dtype.
  Tensor(DType dtype, Shape shape);
  static Tensor from(std::span<const float> values, Shape shape);
  static Tensor from(std::span<const std::int64_t> values, Shape shape);
  /// A copy of what the view shows. Throws InvalidArgument unless its bytes fit its shape.
  static Tensor from(const TensorView& view);
  /// A tensor in memory that others own (a mapped file, an array of Python): `owner`, which may be
  /// null, is held as long as the tensor lives. The memory is only read: whatever gives out a span
  /// for writing copies it first. Throws InvalidArgument unless the bytes fit the shape and
  /// is_aligned(view).
  static Tensor borrow(const TensorView& view, std::shared_ptr<const void> owner = nullptr);
  Tensor(const Tensor& other);
  Tensor& operator=(const Tensor& other);
  Tensor(Tensor&&) noexcept = default;
  Tensor& operator=(Tensor&&) noexcept = default;
  ~Tensor() = default;

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::int64_t size() const { return count_; }
  bool empty() const { return count_ == 0; }

  std::span<const std::byte> bytes() const { return {data_.get(), byte_count_}; }
  std::span<std::byte> bytes() { return {writable(), byte_count_}; }
  /// Lies in memory of others.
  bool borrowed() const { return borrowed_; }
  /// The elements as float32 or int64; throws InvalidArgument when the dtype is another.
  std::span<const float> f32() const;
  std::span<float> f32();
  std::span<const std::int64_t> i64() const;
  std::span<std::int64_t> i64();
  TensorView view() const { return {dtype_, shape_, bytes()}; }

 private:
  std::byte* writable();

  DType dtype_ = DType::float32;
  Shape shape_;
  std::int64_t count_ = 0;
  std::size_t byte_count_ = 0;
  bool borrowed_ = false;
  std::shared_ptr<const std::byte> data_;
};

}  // namespace diffllama
