#include "model/attention.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/isa.h"
#include "model/attention_tile.h"

namespace diffllama {
namespace {

// The tiles of a step, numbered through its sequences.
class Tiles {
 public:
  Tiles(const AttentionGeometry& geometry, const DifferentialParameters& differential,
        std::int64_t layer, const std::vector<AttentionInput>& sequences)
      : geometry_(geometry),
        differential_(differential),
        layer_(layer),
        sequences_(sequences),
        tile_tokens_(std::max<std::int64_t>(1, kAttentionTileRows / geometry.group_heads)) {
    for (const AttentionInput& input : sequences) count_ += tiles_of(input);
  }
  std::int64_t count() const { return count_; }
  void make_room(AttentionScratch& scratch, std::int64_t tiles, std::int64_t threads) const;

  AttentionTile tile(std::int64_t number, AttentionScratch::Tile& scratch) const {
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
  const auto blocks = static_cast<std::int64_t>(std::bit_ceil(std::max(
      kFirstBlocks, static_cast<std::uint64_t>((keys + kCacheBlockKeys - 1) / kCacheBlockKeys))));
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
    if (bfloat16) reserve(worker.scores, maps * kRowFloats);
    if (bfloat16) reserve(worker.rounded_p, rows * kRowHalves);
    if (expands) {
      reserve(worker.expanded,
              kCacheBlockKeys * kPanelColumns *
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
    AttentionTile tile = tiles.tile(number, scratch.tiles[worker]);
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
    AttentionTile part = tile(task / most);
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

float differential_lambda(const float* q1, const float* k1, const float* q2, const float* k2,
                          std::int64_t d, double lambda_init) {
  const auto dot = [d](const float* a, const float* b) {
    float sum = 0;
    for (std::int64_t i = 0; i < d; ++i) sum += a[i] * b[i];
    return sum;
  };
  return std::exp(dot(q1, k1)) - std::exp(dot(q2, k2)) + static_cast<float>(lambda_init);
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
