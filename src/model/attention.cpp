#include "model/attention.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <span>

#include "kernels/elementwise.h"
#include "kernels/gradients.h"
#include "kernels/isa.h"
#include "model/attention_visible.h"
#include "tensor/half.h"

namespace diffllama {
namespace {

constexpr std::int64_t kBlock = SequenceCache::kBlockKeys;
// Rows of a tile: whole register tiles on every ISA.
constexpr std::int64_t kTileRows = 48;
// Rows of a block lie an odd number of cache lines apart: rows a power of two apart would fall into
// few sets of the cache.
constexpr std::int64_t kRowFloats = kBlock + 16;
constexpr std::int64_t kRowHalves = kBlock + 32;

std::int64_t round_up(std::int64_t value, std::int64_t to) { return (value + to - 1) / to * to; }

// Values between the rows of queries that a product reads.
std::int64_t query_stride_of(const AttentionGeometry& geometry, bool bfloat16) {
  constexpr std::int64_t kLine = 32;  // bfloat16 values of a cache line
  if (!bfloat16) return geometry.head_dim;
  return (padded_depth(PanelFormat::bfloat16, geometry.head_dim) / kLine | 1) * kLine;
}

// Fetches part `row` of `rows` of what the next product will read, while this one's rows go through
// functions that read none of it. Never much at a time: a core has few requests under way.
void prefetch_part(std::span<const std::byte> data, std::int64_t row, std::int64_t rows) {
  constexpr std::size_t kLine = 64;
  constexpr std::size_t kMost = 32 * kLine;
  const std::size_t part = (data.size() / static_cast<std::size_t>(rows) + kLine) / kLine * kLine;
  const std::size_t first = std::min(data.size(), static_cast<std::size_t>(row) * part);
  const std::size_t end = std::min(data.size(), first + std::min(part, kMost));
  for (std::size_t at = first; at < end; at += kLine) __builtin_prefetch(data.data() + at, 0, 2);
}

// The heads of one group for a run of tokens: rows (token, head of the group). Its work goes in
// steps that several threads may share: map_block() for every block of keys, then weigh(), then
// add_values() for every panel of values, then finish().
struct Tile {
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
  bool sees(std::int64_t row, std::int64_t key) const {
    const std::int64_t token = token_of(row);
    if (input.mask == nullptr) return key < limit(token);
    return key < keys && input.mask[token * input.mask_stride + key] != 0;
  }
  float lambda(std::int64_t row) const {
    return input.lambdas == nullptr ? differential.lambda : input.lambdas[place_of(row)];
  }
  std::int64_t blocks() const { return (keys + kBlock - 1) / kBlock; }

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
  std::int64_t keys_of(std::int64_t block) const { return std::min(kBlock, keys - block * kBlock); }
  // Where no instruction multiplies bfloat16, the rows of products are rounded and widened once,
  // not each time that a product reads them.
  bool widens() const { return bfloat16() && active_isa() < Isa::avx512; }
  ProductType row_type() const { return widens() ? ProductType::float32 : input.cache->products(); }
  std::int64_t query_stride() const {
    return query_stride_of(geometry, row_type() == ProductType::bfloat16);
  }
  std::span<const std::byte> keys_after(std::int64_t block, std::int64_t map) const;

  void prepare();
  void map_block(std::int64_t block, AttentionScratch::Worker& worker);
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

// Gathers the rows' queries, as the products read them.
void Tile::prepare() {
  const std::int64_t d = geometry.head_dim;
  const std::int64_t stride = query_stride();
  for (std::int64_t map = 0; map < geometry.maps; ++map) {
    const std::int64_t heads = geometry.map_heads(map);
    for (std::int64_t row = 0; row < rows(map); ++row) {
      const std::int64_t head = geometry.query_head(group, map, row % heads);
      const float* query = input.queries + (token_of(map, row) * geometry.query_heads() + head) * d;
      const std::int64_t at = (map * rows() + row) * stride;
      if (widens()) {
        to_bfloat16(query, scratch.rounded_queries.data(), d);
        from_bfloat16(scratch.rounded_queries.data(), scratch.queries.data() + at, d);
      } else if (bfloat16()) {
        std::uint16_t* const rounded = scratch.rounded_queries.data() + at;
        to_bfloat16(query, rounded, d);
        std::fill(rounded + d, rounded + stride, std::uint16_t{0});
      } else {
        std::copy_n(query, d, scratch.queries.data() + at);
      }
    }
  }
}

// Hides the keys of a block that a token may not see, and returns how many are left to look at.
std::int64_t Tile::hide(std::int64_t token, std::int64_t start, std::int64_t count,
                        float* x) const {
  if (input.mask == nullptr) return std::clamp<std::int64_t>(limit(token) - start, 0, count);
  const std::uint8_t* mask = input.mask + token * input.mask_stride + start;
  for (std::int64_t s = 0; s < count; ++s) {
    if (mask[s] == 0) x[s] = -std::numeric_limits<float>::infinity();
  }
  return count;
}

// What is read after the keys of a block for one map.
std::span<const std::byte> Tile::keys_after(std::int64_t block, std::int64_t map) const {
  if (map + 1 < geometry.maps) {
    return input.cache->stored_keys(layer, block, geometry.key_head(group, map + 1));
  }
  if (block + 1 < blocks()) {
    return input.cache->stored_keys(layer, block + 1, geometry.key_head(group, 0));
  }
  return input.cache->stored_values(layer, 0, geometry.value_head(group));
}

// The softmax of every row over one block of keys alone; keys that a row may not see become exact
// zeros.
void Tile::map_block(std::int64_t block, AttentionScratch::Worker& worker) {
  const std::int64_t start = block * kBlock;
  const std::int64_t count = keys_of(block);
  const float factor =
      std::numbers::log2e_v<float> / std::sqrt(static_cast<float>(geometry.head_dim));
  const std::int64_t stride = query_stride();
  PanelArgs args{.lda = stride, .columns = count, .k = geometry.head_dim};
  args.ldc = kRowFloats;
  const PanelProduct multiply = product();
  for (std::int64_t map = 0; map < geometry.maps; ++map) {
    args.m = rows(map);
    if (row_type() == ProductType::bfloat16) {
      args.a = scratch.rounded_queries.data() + map * rows() * stride;
    } else {
      args.a = scratch.queries.data() + map * rows() * stride;
    }
    const SequenceCache::Panels panels =
        input.cache->keys(layer, block, geometry.key_head(group, map), count, worker.expanded);
    args.panels = panels.data;
    args.panel_stride = panels.stride;
    args.c = bfloat16() ? worker.scores.data() : exponentials(block, map, 0);
    multiply(args);
    const std::span<const std::byte> next = keys_after(block, map);
    for (std::int64_t row = 0; row < args.m; ++row) {
      prefetch_part(next, row, args.m);
      float* const x = args.c + row * kRowFloats;
      const std::int64_t seen = hide(token_of(map, row), start, count, x);
      const std::int64_t padded = round_up(count, kPanelColumns);
      SoftmaxBlock part;
      if (bfloat16()) {
        std::uint16_t* const y = rounded_exponentials(block, map, row);
        part = softmax_block_float16(x, seen, factor, y);
        std::fill(y + seen, y + padded, std::uint16_t{0});
      } else {
        part = softmax_block(x, seen, factor);
        std::fill(x + seen, x + padded, 0.0F);
      }
      const std::int64_t at = block_numbers(map, row) + block;
      scratch.tops.data()[at] = part.top;
      scratch.sums.data()[at] = part.sum;
    }
  }
}

// What the blocks' exponentials are multiplied by to become A_1 and -lambda A_2 of each output row.
void Tile::weigh() const {
  for (std::int64_t map = 0; map < geometry.maps; ++map) {
    for (std::int64_t row = 0; row < rows(); ++row) {
      const std::int64_t at = block_numbers(map, map_row(map, row));
      softmax_weights(scratch.tops.data() + at, scratch.sums.data() + at, blocks(),
                      map == 0 ? 1.0F : -lambda(row),
                      scratch.weights.data() + block_numbers(map, row));
    }
  }
}

// A row of P of a block in float32.
void Tile::form_row(std::int64_t block, std::int64_t row, float* p, std::int64_t n) const {
  const float* const first = exponentials(block, 0, row);
  const float w1 = scratch.weights.data()[block_numbers(0, row) + block];
  if (geometry.maps == 1) return weighted_sum(first, w1, nullptr, 0.0F, p, n);
  const float* const second = exponentials(block, 1, map_row(1, row));
  const float w2 = scratch.weights.data()[block_numbers(1, row) + block];
  if (input.lambdas == nullptr) return weighted_sum(first, w1, second, w2, p, n);
  // Both products rounded, so that equal maps leave exactly 1 - lambda of one where lambda is 1/2.
  weighted_sum(second, w2, nullptr, 0.0F, p, n);
  weighted_sum(first, w1, p, 1.0F, p, n);
}

// P of a block, as the rows of a product.
void Tile::form_p(std::int64_t block, std::int64_t count, AttentionScratch::Worker& worker,
                  PanelArgs& args) const {
  const std::int64_t n = round_up(count, kPanelColumns);
  const std::int64_t next = std::min(block + 1, blocks() - 1);
  const std::span<const std::byte> values =
      input.cache->stored_values(layer, next, geometry.value_head(group));
  for (std::int64_t row = 0; row < rows(); ++row) {
    prefetch_part(values, row, rows());
    if (bfloat16()) {
      const float w1 = scratch.weights.data()[block_numbers(0, row) + block];
      const bool two = geometry.maps == 2;
      const float w2 = two ? scratch.weights.data()[block_numbers(1, row) + block] : 0.0F;
      std::uint16_t* const p = worker.rounded_p.data() + (widens() ? 0 : row * kRowHalves);
      const std::int64_t second = map_row(1, row);
      weighted_sum_bfloat16(rounded_exponentials(block, 0, row), w1,
                            two ? rounded_exponentials(block, 1, second) : nullptr, w2, p, n);
      if (widens()) from_bfloat16(p, worker.p.data() + row * kRowFloats, n);
    } else {
      form_row(block, row, worker.p.data() + row * kRowFloats, n);
    }
  }
  if (row_type() == ProductType::bfloat16) {
    args.a = worker.rounded_p.data();
    args.lda = kRowHalves;
  } else {
    args.a = worker.p.data();
    args.lda = kRowFloats;
  }
}

// output[row] = sum over keys of p[row][s] value_s, block by block, for the columns of some panels.
void Tile::add_values(std::int64_t first_panel, std::int64_t panels,
                      AttentionScratch::Worker& worker) const {
  const std::int64_t width = geometry.value_columns;
  const std::int64_t column = first_panel * kPanelColumns;
  const PanelProduct multiply = product();
  PanelArgs args{.m = rows(),
                 .columns = std::min(width - column, panels * kPanelColumns),
                 .c = scratch.output.data() + column,
                 .ldc = width};
  if (blocks() == 0) std::fill_n(scratch.output.data(), rows() * width, 0.0F);
  for (std::int64_t block = 0; block < blocks(); ++block) {
    args.k = keys_of(block);
    form_p(block, args.k, worker, args);
    const SequenceCache::Panels values = input.cache->values(
        layer, block, geometry.value_head(group), first_panel, panels, args.k, worker.expanded);
    args.panels = values.data;
    args.panel_stride = values.stride;
    args.accumulate = block > 0;
    if (hides_nonfinite(block, args)) {
      const auto visible = [&](std::int64_t row, std::int64_t slot) {
        return sees(row, block * kBlock + slot);
      };
      multiply_visible(args, input.cache->layout().format, row_type(), geometry.group_heads,
                       visible, worker.visible);
    } else {
      multiply(args);
    }
  }
}

// Whether the values that a product reads hold NaN or infinity where a row may not look.
bool Tile::hides_nonfinite(std::int64_t block, const PanelArgs& args) const {
  const PanelFormat format = input.cache->layout().format;
  const std::int64_t slots = padded_depth(format, args.k);
  if (input.mask != nullptr) return holds_nonfinite(args, format, 0, slots);
  const std::int64_t* const limits = input.key_limit + first_token;
  const std::int64_t seen_by_all = *std::min_element(limits, limits + tokens) - block * kBlock;
  // The last token sees all that was written; zeros follow.
  const std::int64_t written = input.key_limit[input.tokens - 1] - block * kBlock;
  return seen_by_all < slots &&
         holds_nonfinite(args, format, std::max<std::int64_t>(seen_by_all, 0),
                         std::min(slots, written));
}

// The per-head norm of differential attention (docs/model.md "One layer" 6), then to the output's
// place.
void Tile::finish() const {
  const std::int64_t width = geometry.value_columns;
  const float* const weight =
      differential.norm_weight.empty() ? nullptr : differential.norm_weight.data();
  for (std::int64_t row = 0; row < rows(); ++row) {
    const float* source = scratch.output.data() + row * width;
    const std::int64_t place = place_of(row);
    float* target = input.output + place * width;
    if (!differential.norm) {
      std::copy(source, source + width, target);
      continue;
    }
    rms_norm(source, weight, differential.eps, differential.output_scale, target, width);
    if (input.before_norm != nullptr) std::copy_n(source, width, input.before_norm + place * width);
    if (input.reciprocal_rms != nullptr) {
      input.reciprocal_rms[place] = reciprocal_rms(source, differential.eps, width);
    }
  }
  if (input.maps.maps != nullptr) write_maps();
}

// The softmax maps themselves, for the caller who asked.
void Tile::write_maps() const {
  const AttentionMaps& maps = input.maps;
  std::vector<float> weights(static_cast<std::size_t>(blocks()));
  for (std::int64_t map = 0; map < geometry.maps; ++map) {
    for (std::int64_t row = 0; row < rows(map); ++row) {
      const std::int64_t at = block_numbers(map, row);
      softmax_weights(scratch.tops.data() + at, scratch.sums.data() + at, blocks(), 1.0F,
                      weights.data());
      const std::int64_t token = token_of(map, row);
      const std::int64_t head = geometry.query_head(group, map, row % geometry.map_heads(map));
      float* out = maps.maps + (head * maps.tokens + maps.first_token + token) * maps.keys;
      const std::int64_t seen = input.mask != nullptr ? keys : limit(token);
      for (std::int64_t s = 0; s < seen; ++s) {
        const std::int64_t block = s / kBlock;
        const float value =
            bfloat16() ? float16_to_float(rounded_exponentials(block, map, row)[s % kBlock])
                       : exponentials(block, map, row)[s % kBlock];
        out[maps.key_columns[s]] = value * weights[static_cast<std::size_t>(block)];
      }
    }
  }
}

// The tiles of a step, numbered through its sequences.
class Tiles {
 public:
  Tiles(const AttentionGeometry& geometry, const DifferentialParameters& differential,
        std::int64_t layer, const std::vector<AttentionInput>& sequences)
      : geometry_(geometry),
        differential_(differential),
        layer_(layer),
        sequences_(sequences),
        tile_tokens_(std::max<std::int64_t>(1, kTileRows / geometry.group_heads)) {
    for (const AttentionInput& input : sequences) count_ += tiles_of(input);
  }
  std::int64_t count() const { return count_; }
  void make_room(AttentionScratch& scratch, std::int64_t tiles, std::int64_t threads) const;

  Tile tile(std::int64_t number, AttentionScratch::Tile& scratch) const {
    std::size_t sequence = 0;
    for (; number >= tiles_of(sequences_[sequence]); ++sequence)
      number -= tiles_of(sequences_[sequence]);
    const AttentionInput& input = sequences_[sequence];
    // Group by group, since the tiles of a group read the same keys and values, which then stay in
    // the last-level cache. Within it the last tokens, which see the most keys, go first, so that
    // no thread is left with a long tile at the end.
    const std::int64_t runs = tiles_of(input) / geometry_.groups;
    const std::int64_t run = runs - 1 - number % runs;
    const std::int64_t first = run * tile_tokens_;
    const std::int64_t tokens = std::min(tile_tokens_, input.tokens - first);
    const std::int64_t* const limits = input.key_limit + first;
    return {.geometry = geometry_,
            .differential = differential_,
            .input = input,
            .layer = layer_,
            .group = number / runs,
            .first_token = first,
            .tokens = tokens,
            .keys = input.mask != nullptr ? input.mask_stride
                                          : *std::max_element(limits, limits + tokens),
            .scratch = scratch};
  }

 private:
  std::int64_t tiles_of(const AttentionInput& input) const {
    return (input.tokens + tile_tokens_ - 1) / tile_tokens_ * geometry_.groups;
  }

  const AttentionGeometry& geometry_;
  const DifferentialParameters& differential_;
  std::int64_t layer_;
  const std::vector<AttentionInput>& sequences_;
  std::int64_t tile_tokens_;
  std::int64_t count_ = 0;
};

std::int64_t value_panels(const AttentionGeometry& geometry) {
  return (geometry.value_columns + kPanelColumns - 1) / kPanelColumns;
}

// Room for the largest tile, for every thread at once: which thread takes which tile, and when it
// first takes one, is not known, and a decoded token allocates nothing.
void Tiles::make_room(AttentionScratch& scratch, std::int64_t tiles, std::int64_t threads) const {
  std::int64_t tokens = 0;
  std::int64_t keys = 0;
  bool bfloat16 = false;
  bool float32 = false;
  bool expands = false;
  for (const AttentionInput& input : sequences_) {
    tokens = std::max(tokens, std::min(tile_tokens_, input.tokens));
    keys = std::max(keys, input.cache->keys() + input.tokens);
    const bool rounds = input.cache->products() == ProductType::bfloat16;
    bfloat16 = bfloat16 || rounds;
    float32 = float32 || !rounds;
    expands = expands || input.cache->layout().type == CacheType::q8_0;
  }
  const bool widens = bfloat16 && active_isa() < Isa::avx512;
  const std::int64_t rows = tokens * geometry_.group_heads;
  const std::int64_t maps = rows * geometry_.maps;
  // A sequence that grows by a token a step makes it grow once in as many steps again.
  constexpr std::uint64_t kFirstBlocks = 16;
  const auto blocks = static_cast<std::int64_t>(std::bit_ceil(
      std::max(kFirstBlocks, static_cast<std::uint64_t>((keys + kBlock - 1) / kBlock))));
  const auto reserve = [](auto& buffer, std::int64_t count) {
    buffer.reserve(static_cast<std::size_t>(count));
  };
  if (std::ssize(scratch.tiles) < tiles) scratch.tiles.resize(static_cast<std::size_t>(tiles));
  for (AttentionScratch::Tile& tile : scratch.tiles) {
    if (float32 || widens) reserve(tile.queries, maps * query_stride_of(geometry_, false));
    if (bfloat16) reserve(tile.rounded_queries, maps * query_stride_of(geometry_, true));
    if (float32) reserve(tile.exponentials, blocks * maps * kRowFloats);
    if (bfloat16) reserve(tile.rounded_exponentials, blocks * maps * kRowHalves);
    for (Buffer<float>* numbers : {&tile.tops, &tile.sums, &tile.weights}) {
      reserve(*numbers, blocks * maps);
    }
    reserve(tile.output, rows * geometry_.value_columns);
  }
  if (std::ssize(scratch.workers) < threads) {
    scratch.workers.resize(static_cast<std::size_t>(threads));
  }
  for (AttentionScratch::Worker& worker : scratch.workers) {
    if (float32 || widens) reserve(worker.p, rows * kRowFloats);
    if (bfloat16) reserve(worker.scores, rows * kRowFloats);
    if (bfloat16) reserve(worker.rounded_p, rows * kRowHalves);
    if (expands) {
      reserve(worker.expanded,
              kBlock * kPanelColumns *
                  std::max(value_panels(geometry_),
                           (geometry_.head_dim + kPanelColumns - 1) / kPanelColumns));
    }
  }
}

// Each tile by one thread.
void attend_whole(const Tiles& tiles, AttentionScratch& scratch, const Parallel& parallel,
                  std::int64_t panels) {
  parallel.run(tiles.count(), [&](std::int64_t number, int thread) {
    const auto worker = static_cast<std::size_t>(thread);
    Tile tile = tiles.tile(number, scratch.tiles[worker]);
    tile.prepare();
    for (std::int64_t block = 0; block < tile.blocks(); ++block) {
      tile.map_block(block, scratch.workers[worker]);
    }
    tile.weigh();
    tile.add_values(0, panels, scratch.workers[worker]);
    tile.finish();
  });
}

// The keys and then the columns of every tile shared by all threads.
void attend_split(const Tiles& tiles, AttentionScratch& scratch, const Parallel& parallel,
                  std::int64_t panels) {
  const auto tile = [&](std::int64_t number) {
    return tiles.tile(number, scratch.tiles[static_cast<std::size_t>(number)]);
  };
  std::int64_t most = 0;
  for (std::int64_t number = 0; number < tiles.count(); ++number) {
    tile(number).prepare();
    most = std::max(most, tile(number).blocks());
  }
  parallel.run(tiles.count() * most, [&](std::int64_t task, int thread) {
    Tile part = tile(task / most);
    if (task % most < part.blocks()) {
      part.map_block(task % most, scratch.workers[static_cast<std::size_t>(thread)]);
    }
  });
  for (std::int64_t number = 0; number < tiles.count(); ++number) tile(number).weigh();
  parallel.run(tiles.count() * panels, [&](std::int64_t task, int thread) {
    tile(task / panels)
        .add_values(task % panels, 1, scratch.workers[static_cast<std::size_t>(thread)]);
  });
  for (std::int64_t number = 0; number < tiles.count(); ++number) tile(number).finish();
}

}  // namespace

double lambda_init(std::int64_t layer) {
  return 0.8 - 0.6 * std::exp(-0.3 * static_cast<double>(layer));
}

float differential_lambda(const float* q1, const float* k1, const float* q2, const float* k2,
                          std::int64_t d, std::int64_t layer) {
  const auto dot = [d](const float* a, const float* b) {
    float sum = 0;
    for (std::int64_t i = 0; i < d; ++i) sum += a[i] * b[i];
    return sum;
  };
  return std::exp(dot(q1, k1)) - std::exp(dot(q2, k2)) + static_cast<float>(lambda_init(layer));
}

void attention(const AttentionGeometry& geometry, const DifferentialParameters& differential,
               std::int64_t layer, const std::vector<AttentionInput>& sequences,
               AttentionScratch& scratch, const Parallel& parallel) {
  const Tiles tiles(geometry, differential, layer, sequences);
  const std::int64_t threads = parallel.threads();
  // Few tiles that do not come out even would leave threads without work.
  const bool split = threads > 1 && tiles.count() < 4 * threads && tiles.count() % threads != 0;
  const std::int64_t panels = value_panels(geometry);
  tiles.make_room(scratch, split ? std::max(threads, tiles.count()) : threads, threads);
  if (split) {
    attend_split(tiles, scratch, parallel, panels);
  } else {
    attend_whole(tiles, scratch, parallel, panels);
  }
}

}  // namespace diffllama
