#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/large_block.h"

namespace diffllama {

class CacheBlockPool;

/// A counted handle of a block of a cache: what kCacheBlockKeys keys take in all layers. The last
/// handle gives the block back to where it came from.
class CacheBlock {
 public:
  CacheBlock() = default;
  /// A block of its own from the heap, zeroed. Throws std::bad_alloc.
  static CacheBlock from_heap(std::size_t bytes);
  CacheBlock(const CacheBlock& other) : slot_(other.slot_) { add_holder(); }
  CacheBlock(CacheBlock&& other) noexcept : slot_(std::exchange(other.slot_, nullptr)) {}
  CacheBlock& operator=(CacheBlock other) noexcept {
    std::swap(slot_, other.slot_);
    return *this;
  }
  ~CacheBlock() { remove_holder(); }

  std::byte* data() const { return slot_->data; }
  /// Who holds it: handles, and the prefix cache where it keeps the block.
  std::int32_t holders() const { return slot_->holders.load(std::memory_order_acquire); }
  /// Those of them that are handles.
  std::int32_t sequences() const { return holders() - (slot_->kept ? 1 : 0); }
  /// Its number in the pool.
  std::int32_t index() const { return slot_->index; }

 private:
  friend class CacheBlockPool;
  struct Slot {
    std::byte* data = nullptr;
    CacheBlockPool* pool = nullptr;            // null: the heap's
    std::unique_ptr<void, FreeMemory> memory;  // of the heap's
    std::atomic<std::int32_t> holders{0};
    std::int32_t index = 0;
    std::int32_t next_free = -1;
    bool kept = false;
  };
  explicit CacheBlock(Slot* slot) : slot_(slot) { add_holder(); }
  void add_holder();
  void remove_holder();

  Slot* slot_ = nullptr;
};

/// Blocks of one size, at most so many. Memory is asked for in slabs that double and is never given
/// back; the system gives its pages as they are first written. One thread uses a pool and its
/// blocks, and they end before it.
class CacheBlockPool {
 public:
  /// Blocks of `bytes`, at most `limit`.
  CacheBlockPool(std::size_t bytes, std::int64_t limit);
  CacheBlockPool(const CacheBlockPool&) = delete;
  CacheBlockPool& operator=(const CacheBlockPool&) = delete;

  /// A free block, zeroed. Throws std::bad_alloc where all are held or the system has no memory.
  CacheBlock take();
  /// Asks for memory of `blocks` blocks beside those held now, as far as the limit goes, so that
  /// taking them allocates nothing; what the system refuses is asked for again when it is needed.
  void prepare(std::int64_t blocks) noexcept;

  std::size_t block_bytes() const { return bytes_; }
  std::int64_t limit() const { return limit_; }
  /// Blocks that have memory: all that were ever taken are among the first so many.
  std::int64_t with_memory() const { return static_cast<std::int64_t>(slots_.size()); }
  /// Blocks that nobody holds, those without memory yet among them.
  std::int64_t free() const { return limit_ - held_; }
  /// Held by one sequence or more; by two or more; by the prefix cache alone.
  std::int64_t used() const { return used_; }
  std::int64_t shared() const { return shared_; }
  std::int64_t kept() const { return kept_; }

  /// The prefix cache holds a block too, or no longer.
  void keep(const CacheBlock& block);
  void drop(std::int32_t index);
  CacheBlock handle(std::int32_t index);
  bool only_kept(std::int32_t index) const;

 private:
  friend class CacheBlock;
  using Slot = CacheBlock::Slot;
  struct Slab {
    std::unique_ptr<void, FreeMemory> memory;
    std::unique_ptr<Slot[]> slots;  // NOLINT(modernize-avoid-c-arrays): slots cannot be moved
  };
  void grow(std::int64_t blocks);
  void change(Slot& slot, int holders, bool kept);
  void count(const Slot& slot, int sign);

  std::size_t bytes_, stride_;
  std::int64_t limit_;
  std::vector<Slab> slabs_;
  std::vector<Slot*> slots_;  // by index
  std::int32_t first_free_ = -1;
  std::int64_t held_ = 0, used_ = 0, shared_ = 0, kept_ = 0;
};

inline void CacheBlock::add_holder() {
  if (slot_ == nullptr) return;
  if (slot_->pool == nullptr) {
    slot_->holders.fetch_add(1, std::memory_order_relaxed);
  } else {
    slot_->pool->change(*slot_, 1, slot_->kept);
  }
}

inline void CacheBlock::remove_holder() {
  if (slot_ == nullptr) return;
  if (slot_->pool != nullptr) {
    slot_->pool->change(*slot_, -1, slot_->kept);
  } else if (slot_->holders.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    delete slot_;  // NOLINT(cppcoreguidelines-owning-memory): counted by hand
  }
}

}  // namespace diffllama
