#include "engine/prefix_cache.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <utility>

#include "model/kv_cache.h"

namespace diffllama {
namespace {

// The finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014).
std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

}  // namespace

PrefixCache::PrefixCache(CacheBlockPool& pool, std::uint64_t seed, int hash_bits)
    : pool_(pool),
      seed_(seed),
      mask_(hash_bits >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << hash_bits) - 1),
      buckets_(1, -1) {}

PrefixCache::~PrefixCache() { clear(); }

void PrefixCache::prepare() {
  const auto blocks = static_cast<std::size_t>(pool_.with_memory());
  if (blocks <= entries_.size()) return;
  std::vector<std::int32_t> buckets(std::bit_ceil(blocks), -1);
  ids_.resize(blocks * static_cast<std::size_t>(kCacheBlockKeys));
  entries_.resize(blocks);
  buckets_ = std::move(buckets);
  for (std::size_t index = 0; index < blocks; ++index) {
    Entry& kept = entries_[index];
    if (kept.number == 0) continue;
    kept.bucket_next = std::exchange(bucket(kept.hash), static_cast<std::int32_t>(index));
  }
}

void PrefixCache::clear() {
  while (oldest_ >= 0) drop(oldest_);
}

std::uint64_t PrefixCache::chain_hash(const Place& place, const Key& key) const {
  std::uint64_t hash = place.number == 0 ? mix(seed_) : place.hash;
  hash = mix(hash ^ static_cast<std::uint64_t>(key.rotary_class));
  for (const std::int64_t id : key.ids) hash = mix(hash ^ static_cast<std::uint64_t>(id));
  return hash & mask_;
}

std::int32_t& PrefixCache::bucket(std::uint64_t hash) {
  return buckets_[static_cast<std::size_t>(hash) & (buckets_.size() - 1)];
}

std::int32_t PrefixCache::look_up(const Place& place, const Key& key, std::uint64_t hash) {
  assert(std::ssize(key.ids) == kCacheBlockKeys);
  for (std::int32_t index = bucket(hash); index >= 0; index = entry(index).bucket_next) {
    const Entry& found = entry(index);
    if (found.hash != hash || found.parent != place.number) continue;
    if (found.rotary_class != key.rotary_class) continue;
    if (std::equal(key.ids.begin(), key.ids.end(), ids_.data() + index * kCacheBlockKeys)) {
      return index;
    }
  }
  return -1;
}

std::optional<PrefixCache::Found> PrefixCache::find(const Place& place, const Key& key) {
  const std::uint64_t hash = chain_hash(place, key);
  const std::int32_t index = look_up(place, key, hash);
  if (index < 0) return std::nullopt;
  touch(index);
  return Found{.block = pool_.handle(index), .next = {entry(index).number, hash}};
}

PrefixCache::Found PrefixCache::insert(const Place& place, const Key& key,
                                       const CacheBlock& block) {
  if (std::optional<Found> found = find(place, key)) return *std::move(found);
  prepare();
  const std::uint64_t hash = chain_hash(place, key);
  const std::int32_t index = block.index();
  std::transform(key.ids.begin(), key.ids.end(), ids_.data() + index * kCacheBlockKeys,
                 [](std::int64_t id) { return static_cast<std::int32_t>(id); });
  entry(index) = {.number = ++last_number_,
                  .parent = place.number,
                  .hash = hash,
                  .rotary_class = key.rotary_class,
                  .bucket_next = bucket(hash)};
  bucket(hash) = index;
  link_newest(index);
  pool_.keep(block);
  return {.block = block, .next = {last_number_, hash}};
}

void PrefixCache::touch(std::int32_t index) {
  if (entry(index).number == 0 || newest_ == index) return;
  unlink(index);
  link_newest(index);
}

bool PrefixCache::drop_oldest() {
  for (std::int32_t index = oldest_; index >= 0; index = entry(index).newer) {
    if (!pool_.only_kept(index)) continue;
    drop(index);
    return true;
  }
  return false;
}

void PrefixCache::drop(std::int32_t index) {
  std::int32_t* link = &bucket(entry(index).hash);
  while (*link != index) link = &entry(*link).bucket_next;
  *link = entry(index).bucket_next;
  unlink(index);
  entry(index) = {};
  pool_.drop(index);
}

void PrefixCache::link_newest(std::int32_t index) {
  entry(index).older = newest_;
  entry(index).newer = -1;
  (newest_ < 0 ? oldest_ : entry(newest_).newer) = index;
  newest_ = index;
}

void PrefixCache::unlink(std::int32_t index) {
  const Entry& gone = entry(index);
  (gone.older < 0 ? oldest_ : entry(gone.older).newer) = gone.newer;
  (gone.newer < 0 ? newest_ : entry(gone.newer).older) = gone.older;
}

}  // namespace diffllama
