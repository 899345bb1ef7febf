#pragma once

#include <cstddef>
#include <memory>

namespace diffllama {

/// Memory for what is streamed through, weights and caches: not initialised, aligned to 64 bytes,
/// or from 2 MiB on to huge pages, which the system is asked for, since reading then misses the TLB
/// 512 times less often. Freed with the last pointer to it. Throws std::bad_alloc.
std::shared_ptr<std::byte> allocate_large_block(std::size_t bytes);

}  // namespace diffllama
