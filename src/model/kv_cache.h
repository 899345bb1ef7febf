#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <utility>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "config/attention_descriptor.h"
#include "diffllama/config.h"
#include "diffllama/model.h"
#include "kernels/panel_product.h"
#include "model/cache_blocks.h"

namespace diffllama {

/// `type`, or what automatic means: float32 products read float32, bfloat16 products bfloat16.
CacheType cache_type_for(CacheType type, ProductType products);

/// The block of a cache that holds a key.
inline constexpr std::int64_t kCacheBlockKeys = 256;

/// Where the values of a cache lie, and how large its blocks are. A block holds kCacheBlockKeys
/// keys: for each layer the key panels of every key head, then the value panels of every value head
/// (panel_product.h):
///   keys    8 panels of 32 keys, the reduction being d
///   values  ceil(value_columns / 32) panels, the reduction being the keys
/// f32 and bf16: float32 and bfloat16 panels. q8_0: panels of steps of 32 of the reduction, 32
/// float16 scales and int8 [32][32] each (cache_panels.h). The scales of a step of keys belong to
/// its 32 keys, one for every 32 of d; those of a step of values as well, one for every 32 columns,
/// so that a key that comes later changes nothing.
struct CacheLayout {
  CacheLayout(const AttentionGeometry& attention, std::int64_t layer_count, CacheType cache_type);

  AttentionGeometry geometry;
  std::int64_t layers;
  CacheType type;         // not automatic
  PanelFormat format;     // of the panels as products read them: q8_0 is expanded to bfloat16
  std::size_t key_panel;  // bytes, as all below
  std::size_t key_head, value_panel, value_head, layer, block;

  /// What the keys and values of one token take in all layers.
  std::size_t bytes_per_key() const { return block / kCacheBlockKeys; }
};

/// Keys and values of one sequence in all layers, in blocks of 256 keys, so growing copies nothing.
/// Value slots past the end are zero. Forks share blocks; one that is written to while others hold
/// it too is copied first.
class SequenceCache {
 public:
  static constexpr std::int64_t kBlockKeys = kCacheBlockKeys;

  /// `products` is how the model computes; a float32 cache makes attention compute in float32.
  /// Blocks come from `pool`, which must outlive it and have their size, or from the heap.
  SequenceCache(const AttentionGeometry& geometry, std::int64_t layers, ProductType products,
                CacheType type = CacheType::automatic, CacheBlockPool* pool = nullptr);
  SequenceCache(SequenceCache&&) noexcept = default;
  SequenceCache& operator=(SequenceCache&&) noexcept = default;

  /// Another sequence with the same past; shares the blocks.
  SequenceCache fork() const { return *this; }
  /// Forgets all but the first `keys` keys (<= keys()), which came from `tokens` tokens.
  void truncate(std::int64_t keys, std::int64_t tokens);

  /// Keys stored (tokens that later ones may see), and tokens that went through (masked ones
  /// included).
  std::int64_t keys() const { return keys_; }
  std::int64_t length() const { return length_; }
  /// Makes room for `count` more keys; the step that writes them calls advance() when every layer
  /// has.
  void reserve(std::int64_t count);
  /// Where the cache stands, for restore().
  struct Mark {
    std::int64_t keys, length;
  };
  Mark mark() const { return {keys_, length_}; }
  /// Undoes whatever was written and advanced since mark(), truncate() apart.
  void restore(const Mark& mark) noexcept;

  /// Blocks it has, and block i of them.
  std::int64_t blocks() const { return std::ssize(blocks_); }
  const CacheBlock& block(std::int64_t i) const { return blocks_[static_cast<std::size_t>(i)]; }
  /// Blocks that reserve(count) takes from the pool.
  std::int64_t blocks_missing(std::int64_t count) const;
  /// Blocks that no other sequence holds.
  std::int64_t own_blocks() const;
  /// Appends a full block that holds what comes next; every block so far is full.
  void share(CacheBlock block);
  /// Holds another block with the same contents in place of block i.
  void replace(std::int64_t i, CacheBlock block) {
    blocks_[static_cast<std::size_t>(i)] = std::move(block);
  }
  /// Makes the list of blocks long enough, so that taking them allocates nothing.
  void expect_blocks(std::int64_t count) { blocks_.reserve(static_cast<std::size_t>(count)); }

  void advance(std::int64_t keys, std::int64_t tokens) {
    keys_ += keys;
    length_ += tokens;
  }

  /// Stores what `layer` made of some tokens: rotated keys [tokens, K, d] and the rows of v_proj's
  /// outputs. slots[i] is token i's (< reserved), or -1 where it has none; the others ascend one by
  /// one.
  void write(std::int64_t layer, std::span<const std::int64_t> slots, const float* keys,
             const float* values, const Parallel& parallel);

  /// Panels that a product may read, `stride` bytes apart.
  struct Panels {
    const std::byte* data;
    std::size_t stride;
  };
  /// Those of the first `keys` keys of a block of KV head `head`, depth d. `expanded` is for the
  /// caches that products cannot read as they are.
  Panels keys(std::int64_t layer, std::int64_t block, std::int64_t head, std::int64_t keys,
              Buffer<std::uint16_t>& expanded) const;
  /// `panels` panels of value head `head` from panel `first` on, depth `keys`.
  Panels values(std::int64_t layer, std::int64_t block, std::int64_t head, std::int64_t first,
                std::int64_t panels, std::int64_t keys, Buffer<std::uint16_t>& expanded) const;

  /// What keys() and values() read, to be fetched ahead: all of a block that one head has.
  std::span<const std::byte> stored_keys(std::int64_t layer, std::int64_t block,
                                         std::int64_t head) const {
    return {key_panels(layer, block, head), layout_.key_head};
  }
  std::span<const std::byte> stored_values(std::int64_t layer, std::int64_t block,
                                           std::int64_t head) const {
    return {value_panels(layer, block, head), layout_.value_head};
  }

  const CacheLayout& layout() const { return layout_; }
  /// The type that attention computes in.
  ProductType products() const { return products_; }

 private:
  SequenceCache(const SequenceCache&) = default;  // fork()
  CacheBlock allocate() const;
  std::byte* layer_data(std::int64_t layer, std::int64_t block) const;
  std::byte* key_panels(std::int64_t layer, std::int64_t block, std::int64_t head) const;
  std::byte* value_panels(std::int64_t layer, std::int64_t block, std::int64_t head) const;
  void write_keys(std::int64_t layer, std::int64_t head, std::span<const std::int64_t> slots,
                  const float* keys);
  void write_values(std::int64_t layer, std::int64_t head, std::span<const std::int64_t> slots,
                    const float* values);
  void own(std::size_t block);
  void clear_values(std::int64_t first, std::int64_t end);

  CacheLayout layout_;
  ProductType products_;
  std::int64_t keys_ = 0;
  std::int64_t length_ = 0;
  CacheBlockPool* pool_;  // null: the heap
  std::vector<CacheBlock> blocks_;
};

}  // namespace diffllama
