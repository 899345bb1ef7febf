#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/isa.h"
#include "kernels/panel_product.h"
#include "model/attention.h"

namespace diffllama {

/// Rows of a tile: whole register tiles on every ISA.
inline constexpr std::int64_t kAttentionTileRows = 48;
/// Rows of a block lie an odd number of cache lines apart: rows a power of two apart would fall
/// into few sets of the cache.
inline constexpr std::int64_t kRowFloats = kCacheBlockKeys + 16;
inline constexpr std::int64_t kRowHalves = kCacheBlockKeys + 32;

/// Values between the rows of queries that a product reads.
std::int64_t query_stride_of(const AttentionGeometry& geometry, bool bfloat16);

/// The heads of one group for a run of tokens: rows (token, head of the group). Its work goes in
/// steps that several threads may share: map_block() for every block of keys, then weigh(), then
/// add_values() for every panel of values, then finish().
struct AttentionTile {
  const AttentionGeometry& geometry;
  const DifferentialParameters& differential;
  const AttentionInput& input;
  std::int64_t layer, group, first_token, tokens;
  std::int64_t keys;  // that any of the tokens may see
  AttentionScratch::Tile& scratch;

  // Rows of a map; the second may have fewer, each of which `shared` output rows read.
  std::int64_t rows(std::int64_t map) const { return tokens * geometry.map_heads(map); }
  std::int64_t token_of(std::int64_t map, std::int64_t row) const {
    return first_token + row / geometry.map_heads(map);
  }
  std::int64_t limit(std::int64_t token) const { return input.key_limit[token]; }
  // Output rows are the first map's. The row of a map that output row `row` reads:
  std::int64_t rows() const { return rows(0); }
  std::int64_t token_of(std::int64_t row) const { return token_of(0, row); }
  std::int64_t map_row(std::int64_t map, std::int64_t row) const {
    return map == 0 || geometry.shared == 1 ? row : row / geometry.shared;
  }
  // An output row's place among the sequence's: [tokens, output heads].
  std::int64_t place_of(std::int64_t row) const {
    return token_of(row) * geometry.output_heads() + group * geometry.group_heads +
           row % geometry.group_heads;
  }
  bool sees(std::int64_t row, std::int64_t key) const { return token_sees(token_of(row), key); }
  bool token_sees(std::int64_t token, std::int64_t key) const {
    if (input.mask == nullptr) return key < limit(token);
    return key < keys && input.mask[token * input.mask_stride + key] != 0;
  }
  float lambda(std::int64_t row) const {
    return input.lambdas == nullptr ? differential.lambda : input.lambdas[place_of(row)];
  }
  std::int64_t blocks() const { return (keys + kCacheBlockKeys - 1) / kCacheBlockKeys; }

  bool bfloat16() const { return input.cache->products() == ProductType::bfloat16; }
  PanelProduct product() const {
    return panel_product(input.cache->layout().format, row_type(), active_isa());
  }
  // The exponentials of a row for one map and block: float32 or, with bfloat16 products, float16.
  float* exponentials(std::int64_t block, std::int64_t map, std::int64_t row) const {
    return scratch.exponentials.data() + (block * all_rows() + map * rows() + row) * kRowFloats;
  }
  std::uint16_t* rounded_exponentials(std::int64_t block, std::int64_t map,
                                      std::int64_t row) const {
    return scratch.rounded_exponentials.data() +
           (block * all_rows() + map * rows() + row) * kRowHalves;
  }
  // Of all maps together.
  std::int64_t all_rows() const { return rows() + (geometry.maps == 2 ? rows(1) : 0); }
  // Of the numbers that each row has for each block: [maps, rows, blocks].
  std::int64_t block_numbers(std::int64_t map, std::int64_t row) const {
    return (map * rows() + row) * blocks();
  }
  std::int64_t keys_of(std::int64_t block) const {
    return std::min(kCacheBlockKeys, keys - block * kCacheBlockKeys);
  }
  // Where no instruction multiplies bfloat16, the rows of products are rounded and widened once,
  // not each time that a product reads them.
  bool widens() const { return bfloat16() && active_isa() < Isa::avx512; }
  ProductType row_type() const { return widens() ? ProductType::float32 : input.cache->products(); }
  std::int64_t query_stride() const {
    return query_stride_of(geometry, row_type() == ProductType::bfloat16);
  }
  bool maps_share_keys() const {
    return geometry.maps == 2 && geometry.key_head(group, 0) == geometry.key_head(group, 1);
  }
  std::span<const std::byte> keys_after(std::int64_t block, std::int64_t map) const;

  void prepare();
  void map_block(std::int64_t block, AttentionScratch::Worker& worker);
  void softmax_rows(std::int64_t block, std::int64_t map, float* scores) const;
  void write_logits(std::int64_t block, std::int64_t map, const float* scores) const;
  std::int64_t hide(std::int64_t token, std::int64_t start, std::int64_t count, float* x) const;
  void weigh() const;
  void add_values(std::int64_t first_panel, std::int64_t panels,
                  AttentionScratch::Worker& worker) const;
  void form_p(std::int64_t block, std::int64_t count, AttentionScratch::Worker& worker,
              PanelArgs& args) const;
  void form_row(std::int64_t block, std::int64_t row, float* p, std::int64_t n) const;
  bool hides_nonfinite(std::int64_t block, const PanelArgs& args) const;
  void finish() const;
  void write_maps() const;
};

}  // namespace diffllama
