#include "base/large_block.h"

#include <sys/mman.h>

#include <cstdlib>
#include <limits>
#include <new>

namespace diffllama {

std::shared_ptr<std::byte> allocate_large_block(std::size_t bytes) {
  constexpr std::size_t kCacheLine = 64;
  constexpr std::size_t kHugePage = std::size_t{2} << 20;
  if (bytes > std::numeric_limits<std::size_t>::max() - kHugePage) throw std::bad_alloc();
  const std::size_t alignment = bytes >= kHugePage ? kHugePage : kCacheLine;
  const std::size_t size = (bytes + alignment - 1) / alignment * alignment;
  void* data = std::aligned_alloc(alignment, size);
  if (data == nullptr) throw std::bad_alloc();
  if (alignment == kHugePage) madvise(data, size, MADV_HUGEPAGE);  // a wish only
  return {static_cast<std::byte*>(data), [](std::byte* block) { std::free(block); }};
}

}  // namespace diffllama
