#pragma once

#include <atomic>
#include <cstdint>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define DIFFLLAMA_COUNTS_ALLOCATIONS 1
#else
#define DIFFLLAMA_COUNTS_ALLOCATIONS 0  // a sanitizer's allocator is its own
#endif

// malloc has nowhere else to count.
// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables)
/// Every way to memory so far.
extern std::atomic<std::int64_t> allocations;
/// So many more go well, and the next one fails; below zero: none fails.
extern std::atomic<std::int64_t> allocations_until_failure;
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)
