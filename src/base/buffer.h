#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>

#include "base/large_block.h"

namespace diffllama {

/// Scratch memory that grows and is used again: allocate_memory's, contents undefined after it
/// grew.
template <class T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  /// At least `count` elements; keeps the memory it has when that is enough.
  T* reserve(std::size_t count) {
    if (count > capacity_) {
      if (count > SIZE_MAX / sizeof(T)) throw std::bad_alloc();
      memory_.reset();
      capacity_ = 0;
      memory_ = allocate_memory(count * sizeof(T));
      capacity_ = count;
    }
    return data();
  }
  T* reserve_zeroed(std::size_t count) {
    T* data = reserve(count);
    if (count != 0) std::memset(static_cast<void*>(data), 0, count * sizeof(T));
    return data;
  }
  T* data() const { return static_cast<T*>(memory_.get()); }

 private:
  std::unique_ptr<void, FreeMemory> memory_;
  std::size_t capacity_ = 0;
};

}  // namespace diffllama
