#include "base/large_block.h"

#include <sys/mman.h>

#include <limits>
#include <new>
#include <utility>

namespace diffllama {

std::unique_ptr<void, FreeMemory> allocate_memory(std::size_t bytes) {
  constexpr std::size_t kCacheLine = 64;
  constexpr std::size_t kHugePage = std::size_t{2} << 20;
  constexpr std::size_t kLarge = kHugePage / 2;
  if (bytes > std::numeric_limits<std::size_t>::max() - kHugePage) throw std::bad_alloc();
  const std::size_t alignment = bytes >= kLarge ? kHugePage : kCacheLine;
  const std::size_t size = (bytes + alignment - 1) / alignment * alignment;
  std::unique_ptr<void, FreeMemory> memory(std::aligned_alloc(alignment, size));
  if (!memory) throw std::bad_alloc();
  if (alignment == kHugePage) madvise(memory.get(), size, MADV_HUGEPAGE);  // a wish only
  return memory;
}

std::shared_ptr<std::byte> allocate_large_block(std::size_t bytes) {
  std::shared_ptr<void> memory = allocate_memory(bytes);
  auto* const data = static_cast<std::byte*>(memory.get());
  return {std::move(memory), data};
}

}  // namespace diffllama
