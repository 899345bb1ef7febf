#include "model/cache_blocks.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <limits>
#include <new>

namespace diffllama {

CacheBlock CacheBlock::from_heap(std::size_t bytes) {
  auto slot = std::make_unique<Slot>();
  slot->memory = allocate_memory(bytes);
  slot->data = static_cast<std::byte*>(slot->memory.get());
  std::memset(slot->data, 0, bytes);
  return CacheBlock(slot.release());
}

CacheBlockPool::CacheBlockPool(std::size_t bytes, std::int64_t limit)
    : bytes_(bytes),
      stride_((bytes + 63) / 64 * 64),
      limit_(std::min<std::int64_t>(limit, std::numeric_limits<std::int32_t>::max())) {
  assert(bytes > 0 && limit >= 0);
}

CacheBlock CacheBlockPool::take() {
  if (held_ == limit_) throw std::bad_alloc();
  if (first_free_ < 0) {
    try {
      grow(std::max<std::int64_t>(1, std::ssize(slots_)));
    } catch (const std::bad_alloc&) {
      grow(1);
    }
  }
  Slot& slot = *slots_[static_cast<std::size_t>(first_free_)];
  first_free_ = slot.next_free;
  std::memset(slot.data, 0, bytes_);
  return CacheBlock(&slot);
}

void CacheBlockPool::prepare(std::int64_t blocks) noexcept {
  const std::int64_t missing = std::min(held_ + blocks, limit_) - std::ssize(slots_);
  if (missing <= 0) return;
  try {
    grow(missing);
  } catch (const std::bad_alloc&) {
    // take() asks for less.
  }
}

void CacheBlockPool::grow(std::int64_t blocks) {
  const std::int64_t known = std::ssize(slots_);
  blocks = std::min(blocks, limit_ - known);
  const auto count = static_cast<std::size_t>(blocks);
  if (count > std::numeric_limits<std::size_t>::max() / stride_) throw std::bad_alloc();
  Slab slab{.memory = allocate_memory(count * stride_), .slots = std::make_unique<Slot[]>(count)};
  slots_.reserve(slots_.size() + count);
  slabs_.push_back(std::move(slab));
  auto* const data = static_cast<std::byte*>(slabs_.back().memory.get());
  for (std::size_t i = count; i-- > 0;) {  // so that the first ones are taken first
    Slot& slot = slabs_.back().slots[i];
    slot.data = data + i * stride_;
    slot.pool = this;
    slot.index = static_cast<std::int32_t>(known) + static_cast<std::int32_t>(i);
    slot.next_free = first_free_;
    first_free_ = slot.index;
  }
  for (std::size_t i = 0; i < count; ++i) slots_.push_back(&slabs_.back().slots[i]);
}

void CacheBlockPool::keep(const CacheBlock& block) {
  assert(!block.slot_->kept);
  change(*block.slot_, 1, true);
}

void CacheBlockPool::drop(std::int32_t index) {
  Slot& slot = *slots_[static_cast<std::size_t>(index)];
  assert(slot.kept);
  change(slot, -1, false);
}

CacheBlock CacheBlockPool::handle(std::int32_t index) {
  return CacheBlock(slots_[static_cast<std::size_t>(index)]);
}

bool CacheBlockPool::only_kept(std::int32_t index) const {
  const Slot& slot = *slots_[static_cast<std::size_t>(index)];
  return slot.kept && slot.holders.load(std::memory_order_relaxed) == 1;
}

void CacheBlockPool::change(Slot& slot, int holders, bool kept) {
  count(slot, -1);
  const std::int32_t left = slot.holders.load(std::memory_order_relaxed) + holders;
  slot.holders.store(left, std::memory_order_relaxed);
  slot.kept = kept;
  count(slot, 1);
  if (left == 0) {
    slot.next_free = first_free_;
    first_free_ = slot.index;
  }
}

void CacheBlockPool::count(const Slot& slot, int sign) {
  const std::int32_t holders = slot.holders.load(std::memory_order_relaxed);
  const std::int32_t sequences = holders - (slot.kept ? 1 : 0);
  if (holders > 0) held_ += sign;
  if (sequences > 0) used_ += sign;
  if (sequences > 1) shared_ += sign;
  if (slot.kept && sequences == 0) kept_ += sign;
}

}  // namespace diffllama
