#include "model/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/elementwise.h"
#include "kernels/isa.h"

namespace diffllama {
namespace {

constexpr std::int64_t kBlock = SequenceCache::kBlockKeys;
// Rows of a tile: whole register tiles on every ISA, and scratch of rows x maps x keys that stays
// in the caches.
constexpr std::int64_t kTileRows = 32;

std::int64_t round_up(std::int64_t value, std::int64_t to) { return (value + to - 1) / to * to; }

// The heads of one group for a run of tokens: rows (token, head of the group).
struct Tile {
  const AttentionGeometry& geometry;
  const DifferentialParameters& differential;
  const AttentionInput& input;
  std::int64_t layer, group, first_token, tokens;
  AttentionScratch::Worker& scratch;

  std::int64_t rows() const { return tokens * geometry.group_heads; }
  std::int64_t token_of(std::int64_t row) const { return first_token + row / geometry.group_heads; }
  // Output head p of a row; its softmax head for map m is p + m H/2.
  std::int64_t head_of(std::int64_t row) const {
    return group * geometry.group_heads + row % geometry.group_heads;
  }
  std::int64_t limit(std::int64_t row) const { return input.key_limit[token_of(row)]; }

  bool bfloat16() const { return input.cache->type() == ProductType::bfloat16; }
  PanelProduct product() const {
    return panel_product(input.cache->format(), input.cache->type(), active_isa());
  }

  void run();
  void scores(std::int64_t map, std::int64_t keys, float* out, std::int64_t ld);
  void softmax_rows(std::int64_t map, std::int64_t keys, float* scores, std::int64_t ld);
  void weighted_values(const float* p, std::int64_t keys, std::int64_t ld, float* out);
  void finish(const float* out);
};

// Rounds `rows` rows of `n` values to bfloat16 as the rows of a product, zero-padded; an odd number
// of cache lines apart, as panel_product.h advises.
void round_rows(const float* x, std::int64_t rows, std::int64_t n, std::int64_t ldx,
                Buffer<std::uint16_t>& buffer, PanelArgs& args) {
  constexpr std::int64_t kLine = 32;  // values of a cache line
  const std::int64_t depth = padded_depth(PanelFormat::bfloat16, n);
  const std::int64_t ld = (depth / kLine | 1) * kLine;
  std::uint16_t* out = buffer.reserve(static_cast<std::size_t>(rows * ld));
  for (std::int64_t row = 0; row < rows; ++row) {
    to_bfloat16(x + row * ldx, out + row * ld, n);
    std::fill(out + row * ld + n, out + row * ld + depth, std::uint16_t{0});
  }
  args.a = out;
  args.lda = ld;
}

// scores[row][s] = q_row . k_s of the tile's rows for one map.
void Tile::scores(std::int64_t map, std::int64_t keys, float* out, std::int64_t ld) {
  const std::int64_t d = geometry.head_dim;
  float* queries = scratch.queries.reserve(static_cast<std::size_t>(rows() * d));
  for (std::int64_t row = 0; row < rows(); ++row) {
    const std::int64_t head = head_of(row) + map * geometry.output_heads();
    const float* source = input.queries + (token_of(row) * geometry.query_heads() + head) * d;
    std::copy(source, source + d, queries + row * d);
  }
  PanelArgs args{.a = queries, .lda = d, .m = rows(), .k = d, .ldc = ld};
  if (bfloat16()) round_rows(queries, rows(), d, d, scratch.rows, args);
  args.panel_stride = input.cache->key_panel_stride();
  const PanelProduct multiply = product();
  for (std::int64_t start = 0; start < keys; start += kBlock) {
    args.panels = input.cache->key_panels(layer, start / kBlock, group + map * geometry.groups);
    args.columns = std::min(kBlock, keys - start);
    args.c = out + start;
    multiply(args);
  }
}

// Scores to maps, row by row; keys that a row may not see become exact zeros.
void Tile::softmax_rows(std::int64_t map, std::int64_t keys, float* scores, std::int64_t ld) {
  const float scale = 1.0F / std::sqrt(static_cast<float>(geometry.head_dim));
  for (std::int64_t row = 0; row < rows(); ++row) {
    float* x = scores + row * ld;
    std::int64_t seen = keys;
    if (input.mask != nullptr) {
      const std::uint8_t* mask = input.mask + token_of(row) * input.mask_stride;
      for (std::int64_t s = 0; s < keys; ++s) {
        if (mask[s] == 0) x[s] = -std::numeric_limits<float>::infinity();
      }
    } else {
      seen = limit(row);
    }
    softmax(x, seen, scale);
    std::fill(x + seen, x + ld, 0.0F);
    if (input.maps.maps != nullptr) {
      const AttentionMaps& maps = input.maps;
      const std::int64_t head = head_of(row) + map * geometry.output_heads();
      float* out = maps.maps + (head * maps.tokens + maps.first_token + token_of(row)) * maps.keys;
      for (std::int64_t s = 0; s < seen; ++s) out[maps.key_columns[s]] = x[s];
    }
  }
}

// out[row] = sum over keys of p[row][s] value_s, block by block.
void Tile::weighted_values(const float* p, std::int64_t keys, std::int64_t ld, float* out) {
  const std::int64_t width = geometry.value_columns;
  const std::int64_t count = rows() * width;
  std::fill(out, out + count, 0.0F);
  float* partial = scratch.products.reserve(static_cast<std::size_t>(count));
  const PanelProduct multiply = product();
  PanelArgs args{.m = rows(), .columns = width, .c = partial, .ldc = width};
  args.panel_stride = input.cache->value_panel_stride();
  for (std::int64_t start = 0; start < keys; start += kBlock) {
    args.k = std::min(kBlock, keys - start);
    args.a = p + start;
    args.lda = ld;
    if (bfloat16()) round_rows(p + start, rows(), args.k, ld, scratch.rows, args);
    args.panels = input.cache->value_panels(layer, start / kBlock, group);
    multiply(args);
    add_to(out, partial, count);
  }
}

// The per-head norm of differential attention (docs/model.md "One layer" 6), then to the output's
// place.
void Tile::finish(const float* out) {
  const std::int64_t width = geometry.value_columns;
  for (std::int64_t row = 0; row < rows(); ++row) {
    const float* source = out + row * width;
    float* target = input.output + (token_of(row) * geometry.output_heads() + head_of(row)) * width;
    if (geometry.maps == 2) {
      rms_norm(source, nullptr, differential.eps, differential.output_scale, target, width);
    } else {
      std::copy(source, source + width, target);
    }
  }
}

void Tile::run() {
  std::int64_t keys = input.mask_stride;
  if (input.mask == nullptr) {
    keys = 0;
    for (std::int64_t row = 0; row < rows(); ++row) keys = std::max(keys, limit(row));
  }
  // An odd number of cache lines: rows a power of two apart would fall into few sets of the cache.
  const std::int64_t ld = round_up(keys, kPanelColumns) + 16;
  float* first = scratch.scores.reserve(static_cast<std::size_t>(geometry.maps * rows() * ld));
  for (std::int64_t map = 0; map < geometry.maps; ++map) {
    float* x = first + map * rows() * ld;
    scores(map, keys, x, ld);
    softmax_rows(map, keys, x, ld);
  }
  if (geometry.maps == 2)
    subtract_scaled(first, first + rows() * ld, differential.lambda, rows() * ld);
  float* out = scratch.outputs.reserve(static_cast<std::size_t>(rows() * geometry.value_columns));
  weighted_values(first, keys, ld, out);
  finish(out);
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
  const std::int64_t tile_tokens = std::max<std::int64_t>(1, kTileRows / geometry.group_heads);
  const auto tiles_of = [&](const AttentionInput& input) {
    return (input.tokens + tile_tokens - 1) / tile_tokens * geometry.groups;
  };
  std::int64_t tasks = 0;
  for (const AttentionInput& input : sequences) tasks += tiles_of(input);
  scratch.workers.resize(
      std::max(scratch.workers.size(), static_cast<std::size_t>(parallel.threads())));

  parallel.run(tasks, [&](std::int64_t task, int worker) {
    std::size_t sequence = 0;
    for (; task >= tiles_of(sequences[sequence]); ++sequence) task -= tiles_of(sequences[sequence]);
    const AttentionInput& input = sequences[sequence];
    // The last tokens see the most keys: they go first, so that no thread is left with the longest
    // tile at the end.
    const std::int64_t tile = tiles_of(input) / geometry.groups - 1 - task / geometry.groups;
    const std::int64_t first = tile * tile_tokens;
    Tile{.geometry = geometry,
         .differential = differential,
         .input = input,
         .layer = layer,
         .group = task % geometry.groups,
         .first_token = first,
         .tokens = std::min(tile_tokens, input.tokens - first),
         .scratch = scratch.workers[static_cast<std::size_t>(worker)]}
        .run();
  });
}

}  // namespace diffllama
