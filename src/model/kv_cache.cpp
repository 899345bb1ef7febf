#include "model/kv_cache.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>

#include "kernels/elementwise.h"
#include "model/cache_panels.h"

namespace diffllama {
namespace {

constexpr std::int64_t kBlock = SequenceCache::kBlockKeys;
constexpr std::int64_t kRun = 32;  // keys of a panel, and slots of a step of the values' reduction

std::size_t panels_of(std::int64_t columns) {
  return static_cast<std::size_t>((columns + kPanelColumns - 1) / kPanelColumns);
}

// Of one panel of depth k as a cache stores it.
std::size_t stored_panel_bytes(CacheType type, std::int64_t k) {
  switch (type) {
    case CacheType::f32:
      return panel_bytes(PanelFormat::float32, k);
    case CacheType::q8_0:
      return static_cast<std::size_t>((k + kCacheStep - 1) / kCacheStep) * kCacheStepBytes;
    case CacheType::automatic:
    case CacheType::bf16:
      return panel_bytes(PanelFormat::bfloat16, k);
  }
  return 0;
}

// body(first slot, tokens) for each run of slots that lies in one panel of keys.
template <class Body>
void for_runs(std::span<const std::int64_t> slots, const Body& body) {
  std::array<std::int64_t, kRun> tokens;
  std::size_t count = 0;
  for (std::size_t i = 0; i <= slots.size(); ++i) {
    if (i < slots.size() && slots[i] < 0) continue;
    const bool ends = i == slots.size() || slots[i] % kRun == 0;
    if (ends && count > 0) {
      const std::span run = std::span(tokens).first(count);
      body(slots[static_cast<std::size_t>(run.front())], run);
      count = 0;
    }
    if (i < slots.size()) tokens[count++] = static_cast<std::int64_t>(i);
  }
}

}  // namespace

CacheType cache_type_for(CacheType type, ProductType products) {
  if (type != CacheType::automatic) return type;
  return products == ProductType::float32 ? CacheType::f32 : CacheType::bf16;
}

CacheLayout::CacheLayout(const AttentionGeometry& attention, std::int64_t layer_count,
                         CacheType cache_type)
    : geometry(attention),
      layers(layer_count),
      type(cache_type),
      format(type == CacheType::f32 ? PanelFormat::float32 : PanelFormat::bfloat16),
      key_panel(stored_panel_bytes(type, geometry.head_dim)),
      key_head(static_cast<std::size_t>(kBlock / kPanelColumns) * key_panel),
      value_panel(stored_panel_bytes(type, kBlock)),
      value_head(panels_of(geometry.value_columns) * value_panel),
      layer(static_cast<std::size_t>(geometry.key_heads) * key_head +
            static_cast<std::size_t>(geometry.value_heads) * value_head),
      block(layer * static_cast<std::size_t>(layers)) {}

SequenceCache::SequenceCache(const AttentionGeometry& geometry, std::int64_t layers,
                             ProductType products, CacheType type, CacheBlockPool* pool)
    : layout_(geometry, layers, cache_type_for(type, products)),
      products_(layout_.type == CacheType::f32 ? ProductType::float32 : products),
      pool_(pool) {
  assert(pool == nullptr || pool->block_bytes() == layout_.block);
}

// Zeroed.
CacheBlock SequenceCache::allocate() const {
  return pool_ == nullptr ? CacheBlock::from_heap(layout_.block) : pool_->take();
}

void SequenceCache::own(std::size_t block) {
  if (blocks_[block].holders() == 1) return;
  CacheBlock copy = allocate();
  std::memcpy(copy.data(), blocks_[block].data(), layout_.block);
  blocks_[block] = std::move(copy);
}

void SequenceCache::reserve(std::int64_t count) {
  if (count == 0) return;
  const std::int64_t blocks = (keys_ + count + kBlock - 1) / kBlock;
  for (std::int64_t i = keys_ / kBlock; i < std::min(blocks, std::ssize(blocks_)); ++i) {
    own(static_cast<std::size_t>(i));
  }
  while (std::ssize(blocks_) < blocks) blocks_.push_back(allocate());
}

std::int64_t SequenceCache::blocks_missing(std::int64_t count) const {
  if (count == 0) return 0;
  const std::int64_t blocks = (keys_ + count + kBlock - 1) / kBlock;
  std::int64_t missing = std::max<std::int64_t>(blocks - std::ssize(blocks_), 0);
  for (std::int64_t i = keys_ / kBlock; i < std::min(blocks, std::ssize(blocks_)); ++i) {
    if (block(i).holders() > 1) ++missing;
  }
  return missing;
}

std::int64_t SequenceCache::own_blocks() const {
  return std::ranges::count_if(blocks_,
                               [](const CacheBlock& block) { return block.sequences() == 1; });
}

void SequenceCache::share(CacheBlock block) {
  assert(keys_ == length_ && keys_ == std::ssize(blocks_) * kBlock);
  blocks_.push_back(std::move(block));
  advance(kBlock, kBlock);
}

void SequenceCache::restore(const Mark& mark) noexcept {
  keys_ = mark.keys;
  length_ = mark.length;
  const auto blocks = static_cast<std::size_t>((keys_ + kBlock - 1) / kBlock);
  blocks_.resize(std::min(blocks, blocks_.size()));
  // A last block that others hold too was not written: reserve() would have copied it.
  if (keys_ % kBlock != 0 && blocks_.back().holders() == 1) {
    clear_values(keys_, static_cast<std::int64_t>(blocks) * kBlock);
  }
}

void SequenceCache::truncate(std::int64_t keys, std::int64_t tokens) {
  assert(keys >= 0 && keys <= keys_ && tokens >= keys);
  const std::int64_t blocks = (keys + kBlock - 1) / kBlock;
  if (std::ssize(blocks_) > blocks) blocks_.resize(static_cast<std::size_t>(blocks));
  const std::int64_t end = std::min(keys_, blocks * kBlock);
  if (keys < end) {
    own(static_cast<std::size_t>(blocks - 1));
    clear_values(keys, end);
  }
  keys_ = keys;
  length_ = tokens;
}

void SequenceCache::clear_values(std::int64_t first, std::int64_t end) {
  const std::int64_t start = first / kBlock * kBlock;
  for (std::int64_t layer = 0; layer < layout_.layers; ++layer) {
    std::byte* panel = value_panels(layer, first / kBlock, 0);
    const std::byte* const last =
        panel + static_cast<std::size_t>(layout_.geometry.value_heads) * layout_.value_head;
    for (; panel < last; panel += layout_.value_panel) {
      clear_value_panel(layout_.type, panel, first - start, end - start);
    }
  }
}

std::byte* SequenceCache::layer_data(std::int64_t layer, std::int64_t block) const {
  assert(layer < layout_.layers && block < std::ssize(blocks_));
  return blocks_[static_cast<std::size_t>(block)].data() +
         static_cast<std::size_t>(layer) * layout_.layer;
}

std::byte* SequenceCache::key_panels(std::int64_t layer, std::int64_t block,
                                     std::int64_t head) const {
  return layer_data(layer, block) + static_cast<std::size_t>(head) * layout_.key_head;
}

std::byte* SequenceCache::value_panels(std::int64_t layer, std::int64_t block,
                                       std::int64_t head) const {
  return layer_data(layer, block) +
         static_cast<std::size_t>(layout_.geometry.key_heads) * layout_.key_head +
         static_cast<std::size_t>(head) * layout_.value_head;
}

SequenceCache::Panels SequenceCache::keys(std::int64_t layer, std::int64_t block, std::int64_t head,
                                          std::int64_t keys,
                                          Buffer<std::uint16_t>& expanded) const {
  const std::byte* const panels = key_panels(layer, block, head);
  if (layout_.type != CacheType::q8_0) return {panels, layout_.key_panel};
  const std::int64_t steps = (layout_.geometry.head_dim + kRun - 1) / kRun;
  const auto count = static_cast<std::int64_t>(panels_of(keys)) * steps;
  std::uint16_t* const out = expanded.reserve(static_cast<std::size_t>(kBlock * steps * kRun));
  expand_q8_0(ScalesOf::columns, panels, count, out);
  return {reinterpret_cast<const std::byte*>(out),
          panel_bytes(PanelFormat::bfloat16, layout_.geometry.head_dim)};
}

SequenceCache::Panels SequenceCache::values(std::int64_t layer, std::int64_t block,
                                            std::int64_t head, std::int64_t first,
                                            std::int64_t panels, std::int64_t keys,
                                            Buffer<std::uint16_t>& expanded) const {
  const std::byte* const data =
      value_panels(layer, block, head) + static_cast<std::size_t>(first) * layout_.value_panel;
  if (layout_.type != CacheType::q8_0) return {data, layout_.value_panel};
  constexpr std::int64_t kPanel = kBlock * kPanelColumns;
  std::uint16_t* const out = expanded.reserve(static_cast<std::size_t>(panels * kPanel));
  for (std::int64_t i = 0; i < panels; ++i) {
    expand_q8_0(ScalesOf::depth, data + static_cast<std::size_t>(i) * layout_.value_panel,
                (keys + kRun - 1) / kRun, out + i * kPanel);
  }
  return {reinterpret_cast<const std::byte*>(out),
          static_cast<std::size_t>(kPanel) * sizeof(std::uint16_t)};
}

void SequenceCache::write(std::int64_t layer, std::span<const std::int64_t> slots,
                          const float* keys, const float* values, const Parallel& parallel) {
  constexpr std::size_t kFewTokens = 16;  // not worth waking threads for
  const std::int64_t heads = layout_.geometry.key_heads;
  const std::int64_t tasks = heads + layout_.geometry.value_heads;
  const auto task_body = [&](std::int64_t task, int /*worker*/) {
    if (task < heads) {
      write_keys(layer, task, slots, keys);
    } else {
      write_values(layer, task - heads, slots, values);
    }
  };
  if (slots.size() > kFewTokens) {
    parallel.run(tasks, task_body);
  } else {
    for (std::int64_t task = 0; task < tasks; ++task) task_body(task, 0);
  }
}

void SequenceCache::write_keys(std::int64_t layer, std::int64_t head,
                               std::span<const std::int64_t> slots, const float* keys) {
  const std::int64_t d = layout_.geometry.head_dim;
  const std::int64_t row = layout_.geometry.key_heads * d;
  for_runs(slots, [&](std::int64_t slot, std::span<const std::int64_t> tokens) {
    std::array<const float*, kRun> rows;
    for (std::size_t i = 0; i < tokens.size(); ++i) rows[i] = keys + tokens[i] * row + head * d;
    std::byte* const panel =
        key_panels(layer, slot / kBlock, head) +
        static_cast<std::size_t>(slot % kBlock / kPanelColumns) * layout_.key_panel;
    write_key_panel(layout_.type, panel, slot % kPanelColumns, std::span(rows).first(tokens.size()),
                    d);
  });
}

void SequenceCache::write_values(std::int64_t layer, std::int64_t head,
                                 std::span<const std::int64_t> slots, const float* values) {
  const AttentionGeometry& geometry = layout_.geometry;
  const std::int64_t part = geometry.value_columns / geometry.value_parts;
  const std::int64_t row = geometry.value_width();
  for_runs(slots, [&](std::int64_t slot, std::span<const std::int64_t> tokens) {
    std::array<std::array<float, kPanelColumns>, kRun> gathered = {};
    std::array<const float*, kRun> rows;
    std::byte* panel = value_panels(layer, slot / kBlock, head);
    for (std::int64_t first = 0; first < geometry.value_columns; first += kPanelColumns) {
      const std::int64_t columns = std::min(kPanelColumns, geometry.value_columns - first);
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        // A panel may hold the end of one part and the beginning of the next.
        for (std::int64_t c = 0; c < columns;) {
          const std::int64_t count = std::min(columns - c, part - (first + c) % part);
          std::copy_n(values + tokens[i] * row + geometry.value_column(head, first + c), count,
                      gathered[i].data() + c);
          c += count;
        }
        rows[i] = gathered[i].data();
      }
      write_value_panel(layout_.type, panel, slot % kBlock, std::span(rows).first(tokens.size()),
                        columns);
      panel += layout_.value_panel;
    }
  });
}

}  // namespace diffllama
