// Stands before the C library's allocator: counts, and fails where a test wants it.
#include "allocation/counted_allocator.h"

#include <cstddef>

// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables)
std::atomic<std::int64_t> allocations{0};
std::atomic<std::int64_t> allocations_until_failure{-1};
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)

#if DIFFLLAMA_COUNTS_ALLOCATIONS
namespace {

// Counts one; whether it may go on.
bool counted() {
  ++allocations;
  if (allocations_until_failure < 0) return true;
  return allocations_until_failure-- != 0;
}

}  // namespace

// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming,readability-inconsistent-declaration-parameter-name):
// glibc's own names
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* data, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

void* malloc(std::size_t size) { return counted() ? __libc_malloc(size) : nullptr; }
void* calloc(std::size_t count, std::size_t size) {
  return counted() ? __libc_calloc(count, size) : nullptr;
}
void* realloc(void* data, std::size_t size) {
  return counted() ? __libc_realloc(data, size) : nullptr;
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  return counted() ? __libc_memalign(alignment, size) : nullptr;
}
}
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming,readability-inconsistent-declaration-parameter-name)
#endif
