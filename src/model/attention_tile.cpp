#include "model/attention_tile.h"

#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "kernels/elementwise.h"
#include "kernels/gradients.h"
#include "model/attention_visible.h"
#include "tensor/half.h"

namespace diffllama {
namespace {

constexpr std::int64_t kBlock = kCacheBlockKeys;

std::int64_t round_up(std::int64_t value, std::int64_t to) { return (value + to - 1) / to * to; }

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

}  // namespace

std::int64_t query_stride_of(const AttentionGeometry& geometry, bool bfloat16) {
  constexpr std::int64_t kLine = 32;  // bfloat16 values of a cache line
  if (!bfloat16) return geometry.head_dim;
  return (padded_depth(PanelFormat::bfloat16, geometry.head_dim) / kLine | 1) * kLine;
}

// Gathers the rows' queries, as the products read them.
void AttentionTile::prepare() {
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
std::int64_t AttentionTile::hide(std::int64_t token, std::int64_t start, std::int64_t count,
                                 float* x) const {
  if (input.mask == nullptr) return std::clamp<std::int64_t>(limit(token) - start, 0, count);
  const std::uint8_t* mask = input.mask + token * input.mask_stride + start;
  for (std::int64_t s = 0; s < count; ++s) {
    if (mask[s] == 0) x[s] = -std::numeric_limits<float>::infinity();
  }
  return count;
}

// What is read after the keys of a block for one map.
std::span<const std::byte> AttentionTile::keys_after(std::int64_t block, std::int64_t map) const {
  if (map + 1 < geometry.maps && !maps_share_keys()) {
    return input.cache->stored_keys(layer, block, geometry.key_head(group, map + 1));
  }
  if (block + 1 < blocks()) {
    return input.cache->stored_keys(layer, block + 1, geometry.key_head(group, 0));
  }
  return input.cache->stored_values(layer, 0, geometry.value_head(group));
}

// The scores of every row over one block of keys, and their softmax over it alone. Maps that read
// the same keys are rows of one product.
void AttentionTile::map_block(std::int64_t block, AttentionScratch::Worker& worker) {
  const std::int64_t count = keys_of(block);
  const std::int64_t stride = query_stride();
  PanelArgs args{.lda = stride, .columns = count, .k = geometry.head_dim};
  args.ldc = kRowFloats;
  const PanelProduct multiply = product();
  const std::int64_t product_maps = maps_share_keys() ? geometry.maps : 1;
  for (std::int64_t map = 0; map < geometry.maps; map += product_maps) {
    args.m = product_maps > 1 ? all_rows() : rows(map);
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
    float* scores = args.c;
    for (std::int64_t of = map; of < map + product_maps; ++of) {
      if (input.maps.logits != nullptr) write_logits(block, of, scores);
      softmax_rows(block, of, scores);
      scores += rows(of) * kRowFloats;
    }
  }
}

// The softmax of a map's rows over one block of keys alone; keys that a row may not see become
// exact zeros.
void AttentionTile::softmax_rows(std::int64_t block, std::int64_t map, float* scores) const {
  const std::int64_t start = block * kBlock;
  const std::int64_t count = keys_of(block);
  const std::int64_t padded = round_up(count, kPanelColumns);
  const float factor =
      std::numbers::log2e_v<float> / std::sqrt(static_cast<float>(geometry.head_dim));
  const std::span<const std::byte> next = keys_after(block, map);
  for (std::int64_t row = 0; row < rows(map); ++row) {
    prefetch_part(next, row, rows(map));
    float* const x = scores + row * kRowFloats;
    const std::int64_t seen = hide(token_of(map, row), start, count, x);
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

// What the blocks' exponentials are multiplied by to become A_1 and -lambda A_2 of each output row.
void AttentionTile::weigh() const {
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
void AttentionTile::form_row(std::int64_t block, std::int64_t row, float* p, std::int64_t n) const {
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
void AttentionTile::form_p(std::int64_t block, std::int64_t count, AttentionScratch::Worker& worker,
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
void AttentionTile::add_values(std::int64_t first_panel, std::int64_t panels,
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
bool AttentionTile::hides_nonfinite(std::int64_t block, const PanelArgs& args) const {
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
void AttentionTile::finish() const {
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

// A block of scores, for the caller who asked.
void AttentionTile::write_logits(std::int64_t block, std::int64_t map, const float* scores) const {
  const AttentionMaps& maps = input.maps;
  const float scale = 1.0F / std::sqrt(static_cast<float>(geometry.head_dim));
  for (std::int64_t row = 0; row < rows(map); ++row) {
    const std::int64_t token = token_of(map, row);
    const std::int64_t head = geometry.query_head(group, map, row % geometry.map_heads(map));
    float* out = maps.logits + (head * maps.tokens + maps.first_token + token) * maps.keys;
    for (std::int64_t s = 0; s < keys_of(block); ++s) {
      const std::int64_t key = block * kBlock + s;
      if (token_sees(token, key)) out[maps.key_columns[key]] = scores[row * kRowFloats + s] * scale;
    }
  }
}

// The softmax maps themselves, for the caller who asked.
void AttentionTile::write_maps() const {
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

}  // namespace diffllama
