#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>

namespace diffllama {

/// Scratch memory that grows and is used again: 64-byte aligned, contents undefined after it grew.
template <class T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  /// At least `count` elements; keeps the memory it has when that is enough.
  T* reserve(std::size_t count) {
    if (count > capacity_) {
      constexpr std::size_t kAlignment = 64;
      if (count > (SIZE_MAX - kAlignment) / sizeof(T)) throw std::bad_alloc();
      const std::size_t bytes = (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
      data_.reset();
      capacity_ = 0;
      data_.reset(static_cast<T*>(std::aligned_alloc(kAlignment, bytes)));
      if (!data_) throw std::bad_alloc();
      capacity_ = count;
    }
    return data_.get();
  }
  T* reserve_zeroed(std::size_t count) {
    T* data = reserve(count);
    if (count != 0) std::memset(static_cast<void*>(data), 0, count * sizeof(T));
    return data;
  }
  T* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(T* data) const { std::free(data); }
  };
  std::unique_ptr<T, Free> data_;
  std::size_t capacity_ = 0;
};

}  // namespace diffllama
