#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "model/cache_blocks.h"

namespace diffllama {

/// Finds full blocks of a pool by the tokens they hold and all that came before them, and keeps
/// them when their sequences end. A block is found by a chained hash and believed only when its
/// predecessor is the very block that was found before it and every token is equal.
class PrefixCache {
 public:
  /// A place in a chain of blocks; the default is the beginning of all of them.
  struct Place {
    std::uint64_t number = 0;  // of the block before it; 0: none
    std::uint64_t hash = 0;
  };
  /// What a block's keys and values depend on beside the blocks before it.
  struct Key {
    std::span<const std::int64_t> ids;  // [kCacheBlockKeys]
    std::int64_t rotary_class = 0;      // DiffLlamaModel::rotary_class() of all its tokens
  };
  struct Found {
    CacheBlock block;
    Place next;  // behind it
  };

  /// `seed` stands for the model, its adapter and the type of the cache; hash_bits: of the hash
  /// that are used, fewer to test what happens when they collide. `pool` must outlive it.
  PrefixCache(CacheBlockPool& pool, std::uint64_t seed, int hash_bits = 64);
  ~PrefixCache();
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  /// Makes room for the pool's blocks that have memory, so that keeping them allocates nothing.
  void prepare();
  /// The block that holds `key` behind `place`; it is then the latest used.
  std::optional<Found> find(const Place& place, const Key& key);
  /// Keeps `block`, unless there is one with that key: then that one is returned, and the caller
  /// may hold it in place of its own, since the bits are the same.
  Found insert(const Place& place, const Key& key, const CacheBlock& block);
  /// A sequence uses the block: it is the latest used. Called from a chain's last block to its
  /// first, so that the last goes first.
  void touch(std::int32_t index);
  /// Drops the least recently used block that no sequence holds. False: there is none.
  bool drop_oldest();
  void clear();

 private:
  struct Entry {
    std::uint64_t number = 0;  // 0: the pool's block is not kept
    std::uint64_t parent = 0, hash = 0;
    std::int64_t rotary_class = 0;
    std::int32_t bucket_next = -1;
    std::int32_t older = -1, newer = -1;
  };
  Entry& entry(std::int32_t index) { return entries_[static_cast<std::size_t>(index)]; }
  std::uint64_t chain_hash(const Place& place, const Key& key) const;
  std::int32_t& bucket(std::uint64_t hash);
  std::int32_t look_up(const Place& place, const Key& key, std::uint64_t hash);
  void link_newest(std::int32_t index);
  void unlink(std::int32_t index);
  void drop(std::int32_t index);

  CacheBlockPool& pool_;
  std::uint64_t seed_, mask_;
  std::uint64_t last_number_ = 0;
  // They grow with the pool.
  std::vector<Entry> entries_;         // by the block's index
  std::vector<std::int32_t> buckets_;  // a power of two of them
  std::vector<std::int32_t> ids_;      // [blocks, kCacheBlockKeys]
  std::int32_t oldest_ = -1, newest_ = -1;
};

}  // namespace diffllama
