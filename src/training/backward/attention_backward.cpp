#include "training/backward/attention_backward.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/gradients.h"

namespace diffllama {
namespace {

// Query rows that go through the products together.
constexpr std::int64_t kTileRows = 128;

// One group of one sequence. `token` counts the sequence's tokens, `row` those of a tile times the
// heads of the group: output rows, which are the first map's; the second map may have fewer, each
// read by `shared` output rows.
class GroupBackward {
 public:
  GroupBackward(const AttentionGeometry& geometry, const DifferentialParameters& differential,
                const AttentionGradientInput& input, std::int64_t group,
                AttentionBackwardScratch::Worker& scratch, DifferentialGradients& gradients)
      : geometry_(geometry),
        differential_(differential),
        input_(input),
        group_(group),
        scratch_(scratch),
        gradients_(gradients),
        tile_tokens_(std::max<std::int64_t>(1, kTileRows / geometry.group_heads)) {
    for (std::int64_t t = 0; t < input.tokens; ++t) keys_ = std::max(keys_, input.slots[t] + 1);
  }

  /// `written` names the key heads whose gradients earlier groups of this value head wrote, which
  /// are added to; with any, so is the value's.
  void run(std::vector<std::int64_t>& written) {
    gather_keys();
    for (std::int64_t first = 0; first < input_.tokens; first += tile_tokens_) {
      first_ = first;
      tokens_ = std::min(tile_tokens_, input_.tokens - first);
      const std::int64_t* limits = input_.key_limit + first;
      seen_ = input_.mask != nullptr ? keys_ : *std::max_element(limits, limits + tokens_);
      gather_rows();
      if (seen_ > 0) {
        make_maps();
        differentiate_maps();
        add_products();
      } else if (input_.d_lambdas != nullptr) {
        for (std::int64_t row = 0; row < rows(); ++row) input_.d_lambdas[place_of(row)] = 0;
      }
      scatter_queries();
    }
    scatter_values(!written.empty());
    for (std::int64_t map = 0; map < geometry_.maps; ++map) {
      const std::int64_t head = geometry_.key_head(group_, map);
      const bool again = std::ranges::find(written, head) != written.end();
      scatter_keys(map, head, again);
      if (!again) written.push_back(head);
    }
  }

 private:
  std::int64_t rows() const { return rows(0); }
  std::int64_t rows(std::int64_t map) const { return tokens_ * geometry_.map_heads(map); }
  std::int64_t token_of(std::int64_t map, std::int64_t row) const {
    return first_ + row / geometry_.map_heads(map);
  }
  // An output row's place among the sequence's: [tokens, output heads].
  std::int64_t place_of(std::int64_t row) const {
    return token_of(0, row) * geometry_.output_heads() + group_ * geometry_.group_heads +
           row % geometry_.group_heads;
  }
  // Where the query of a map's row lies in [tokens, query heads, d].
  std::int64_t query_at(std::int64_t map, std::int64_t row) const {
    const std::int64_t head = geometry_.query_head(group_, map, row % geometry_.map_heads(map));
    return (token_of(map, row) * geometry_.query_heads() + head) * geometry_.head_dim;
  }
  // How many keys, from the first, a token may look at.
  std::int64_t limit(std::int64_t token) const {
    return input_.mask != nullptr ? keys_ : input_.key_limit[token];
  }
  float lambda(std::int64_t row) const {
    return input_.lambdas == nullptr ? differential_.lambda : input_.lambdas[place_of(row)];
  }
  float* map_row(std::int64_t map, std::int64_t row) const {
    return scratch_.maps.data() + (map * rows() + row) * seen_;
  }

  void gather_keys();
  void gather_rows();
  void make_maps();
  void differentiate_maps();
  void differentiate_second_map(std::int64_t second_row, float* d_p, float* p);
  void add_products();
  void scatter_queries();
  void scatter_keys(std::int64_t map, std::int64_t head, bool add);
  void scatter_values(bool add);

  const AttentionGeometry& geometry_;
  const DifferentialParameters& differential_;
  const AttentionGradientInput& input_;
  std::int64_t group_;
  AttentionBackwardScratch::Worker& scratch_;
  DifferentialGradients& gradients_;
  std::int64_t tile_tokens_;
  std::int64_t keys_ = 0;                // S
  std::int64_t first_ = 0, tokens_ = 0;  // of the tile
  std::int64_t seen_ = 0;                // keys that any token of the tile may see
};

template <class T>
T* reserve(Buffer<T>& buffer, std::int64_t count) {
  return buffer.reserve(static_cast<std::size_t>(count));
}

// Writes or adds n values of a gradient.
void put(bool add, const float* from, float* to, std::int64_t n) {
  if (add) {
    add_to(to, from, n);
  } else {
    std::copy_n(from, n, to);
  }
}

// The keys and values of the group that later tokens may see, side by side, and zeroed gradients.
void GroupBackward::gather_keys() {
  const std::int64_t d = geometry_.head_dim;
  const std::int64_t maps = geometry_.maps;
  const std::int64_t width = geometry_.value_columns;
  const std::int64_t part = width / geometry_.value_parts;
  const std::int64_t value = geometry_.value_head(group_);
  float* keys = reserve(scratch_.keys, maps * keys_ * d);
  float* values = reserve(scratch_.values, keys_ * width);
  std::fill_n(reserve(scratch_.d_keys, maps * keys_ * d), maps * keys_ * d, 0.0F);
  std::fill_n(reserve(scratch_.d_values, keys_ * width), keys_ * width, 0.0F);
  for (std::int64_t t = 0; t < input_.tokens; ++t) {
    const std::int64_t slot = input_.slots[t];
    if (slot < 0) continue;
    for (std::int64_t map = 0; map < maps; ++map) {
      const std::int64_t from = (t * geometry_.key_heads + geometry_.key_head(group_, map)) * d;
      std::copy_n(input_.keys + from, d, keys + (map * keys_ + slot) * d);
    }
    for (std::int64_t c = 0; c < width; c += part) {
      const float* from =
          input_.values + t * geometry_.value_width() + geometry_.value_column(value, c);
      std::copy_n(from, part, values + slot * width + c);
    }
  }
}

// The tile's queries, and the gradient of what P V gave: through the per-head norm. Without weights
// its input was output / (output_scale r).
void GroupBackward::gather_rows() {
  const std::int64_t d = geometry_.head_dim;
  const std::int64_t width = geometry_.value_columns;
  float* queries = reserve(scratch_.queries, geometry_.maps * rows() * d);
  float* d_rows = reserve(scratch_.d_rows, rows() * width);
  for (std::int64_t map = 0; map < geometry_.maps; ++map) {
    for (std::int64_t row = 0; row < rows(map); ++row) {
      std::copy_n(input_.queries + query_at(map, row), d, queries + (map * rows() + row) * d);
    }
  }
  const bool weighted = !differential_.norm_weight.empty();
  const float* const weight = weighted ? differential_.norm_weight.data() : nullptr;
  std::vector<float> raw(static_cast<std::size_t>(width));
  for (std::int64_t row = 0; row < rows(); ++row) {
    const std::int64_t at = place_of(row);
    const float* const d_output = input_.d_output + at * width;
    float* d_row = d_rows + row * width;
    if (!differential_.norm) {
      std::copy_n(d_output, width, d_row);
      continue;
    }
    const float r = input_.reciprocal_rms[at];
    std::copy_n((weighted ? input_.before_norm : input_.output) + at * width, width, raw.data());
    if (!weighted) scale(raw.data(), 1.0F / (differential_.output_scale * r), width);
    std::fill_n(d_row, width, 0.0F);
    rms_norm_backward(raw.data(), weight, r, differential_.output_scale, d_output, d_row, width);
    for (std::size_t c = 0; c < gradients_.norm_weight.size(); ++c) {
      gradients_.norm_weight[c] +=
          double{differential_.output_scale * r} * double{raw[c]} * double{d_output[c]};
    }
  }
}

// The softmax maps of the tile; zero where a row may not look.
void GroupBackward::make_maps() {
  const std::int64_t d = geometry_.head_dim;
  const float factor = std::numbers::log2e_v<float> / std::sqrt(static_cast<float>(d));
  reserve(scratch_.maps, geometry_.maps * rows() * seen_);
  for (std::int64_t map = 0; map < geometry_.maps; ++map) {
    gemm(ProductType::float32, {.m = rows(map),
                                .n = seen_,
                                .k = d,
                                .a = scratch_.queries.data() + map * rows() * d,
                                .lda = d,
                                .b = scratch_.keys.data() + map * keys_ * d,
                                .ldb = d,
                                .transpose_b = true,
                                .c = map_row(map, 0),
                                .ldc = seen_});
    for (std::int64_t row = 0; row < rows(map); ++row) {
      float* x = map_row(map, row);
      const std::int64_t token = token_of(map, row);
      const std::int64_t looks = limit(token);
      if (input_.mask != nullptr) {
        const std::uint8_t* mask = input_.mask + token * input_.mask_stride;
        for (std::int64_t s = 0; s < looks; ++s) {
          if (mask[s] == 0) x[s] = -std::numeric_limits<float>::infinity();
        }
      }
      const float sum = softmax_block(x, looks, factor).sum;
      if (sum != 0.0F) scale(x, 1.0F / sum, looks);
      std::fill(x + looks, x + seen_, 0.0F);
    }
  }
}

// P, and the gradients of the scores in place of the maps, those of lambda with them.
void GroupBackward::differentiate_maps() {
  const std::int64_t width = geometry_.value_columns;
  const float factor = 1.0F / std::sqrt(static_cast<float>(geometry_.head_dim));
  float* d_p = reserve(scratch_.d_p, rows() * seen_);  // G
  float* p = reserve(scratch_.p, rows() * seen_);
  gemm(ProductType::float32, {.m = rows(),
                              .n = seen_,
                              .k = width,
                              .a = scratch_.d_rows.data(),
                              .lda = width,
                              .b = scratch_.values.data(),
                              .ldb = width,
                              .transpose_b = true,
                              .c = d_p,
                              .ldc = seen_});
  if (geometry_.maps == 2) {
    for (std::int64_t row = 0; row < rows(1); ++row) differentiate_second_map(row, d_p, p);
    return;
  }
  for (std::int64_t row = 0; row < rows(); ++row) {
    const float* g = d_p + row * seen_;
    float* first = map_row(0, row);
    weighted_sum(first, 1.0F, nullptr, 0.0F, p + row * seen_, seen_);
    softmax_backward(first, g, dot(first, g, seen_), factor, first, seen_);
  }
}

// The same for a row of the second map and the output rows that read it.
void GroupBackward::differentiate_second_map(std::int64_t second_row, float* d_p, float* p) {
  const float factor = 1.0F / std::sqrt(static_cast<float>(geometry_.head_dim));
  float* second = map_row(1, second_row);
  const std::int64_t begin = second_row * geometry_.shared;
  const std::int64_t end = begin + geometry_.shared;
  float sum = 0;
  for (std::int64_t row = begin; row < end; ++row) {
    const float* g = d_p + row * seen_;
    float* first = map_row(0, row);
    weighted_sum(first, 1.0F, second, -lambda(row), p + row * seen_, seen_);
    softmax_backward(first, g, dot(first, g, seen_), factor, first, seen_);
    sum = dot(second, g, seen_);
    if (input_.d_lambdas != nullptr) {
      input_.d_lambdas[place_of(row)] = -sum;
    } else {
      gradients_.lambda -= static_cast<double>(sum);
    }
  }
  float* g = d_p + begin * seen_;
  if (geometry_.shared == 1) {
    return softmax_backward(second, g, sum, -lambda(begin) * factor, second, seen_);
  }
  scale(g, lambda(begin), seen_);
  for (std::int64_t row = begin + 1; row < end; ++row) {
    add_product(g, lambda(row), d_p + row * seen_, nullptr, seen_);
  }
  softmax_backward(second, g, dot(second, g, seen_), -factor, second, seen_);
}

// d V += P^T d out; d Q = d S K; d K += d S^T Q.
void GroupBackward::add_products() {
  const std::int64_t d = geometry_.head_dim;
  const std::int64_t width = geometry_.value_columns;
  gemm(ProductType::float32, {.m = seen_,
                              .n = width,
                              .k = rows(),
                              .a = scratch_.p.data(),
                              .lda = seen_,
                              .transpose_a = true,
                              .b = scratch_.d_rows.data(),
                              .ldb = width,
                              .c = scratch_.d_values.data(),
                              .ldc = width,
                              .accumulate = true});
  float* d_queries = reserve(scratch_.d_queries, geometry_.maps * rows() * d);
  for (std::int64_t map = 0; map < geometry_.maps; ++map) {
    gemm(ProductType::float32, {.m = rows(map),
                                .n = d,
                                .k = seen_,
                                .a = map_row(map, 0),
                                .lda = seen_,
                                .b = scratch_.keys.data() + map * keys_ * d,
                                .ldb = d,
                                .c = d_queries + map * rows() * d,
                                .ldc = d});
    gemm(ProductType::float32, {.m = seen_,
                                .n = d,
                                .k = rows(map),
                                .a = map_row(map, 0),
                                .lda = seen_,
                                .transpose_a = true,
                                .b = scratch_.queries.data() + map * rows() * d,
                                .ldb = d,
                                .c = scratch_.d_keys.data() + map * keys_ * d,
                                .ldc = d,
                                .accumulate = true});
  }
}

void GroupBackward::scatter_queries() {
  const std::int64_t d = geometry_.head_dim;
  for (std::int64_t map = 0; map < geometry_.maps; ++map) {
    for (std::int64_t row = 0; row < rows(map); ++row) {
      float* target = input_.d_queries + query_at(map, row);
      if (seen_ == 0) {
        std::fill_n(target, d, 0.0F);
      } else {
        std::copy_n(scratch_.d_queries.data() + (map * rows() + row) * d, d, target);
      }
    }
  }
}

void GroupBackward::scatter_keys(std::int64_t map, std::int64_t head, bool add) {
  const std::int64_t d = geometry_.head_dim;
  for (std::int64_t t = 0; t < input_.tokens; ++t) {
    const std::int64_t slot = input_.slots[t];
    float* target = input_.d_keys + (t * geometry_.key_heads + head) * d;
    if (slot >= 0) {
      put(add, scratch_.d_keys.data() + (map * keys_ + slot) * d, target, d);
    } else if (!add) {
      std::fill_n(target, d, 0.0F);
    }
  }
}

void GroupBackward::scatter_values(bool add) {
  const std::int64_t width = geometry_.value_columns;
  const std::int64_t part = width / geometry_.value_parts;
  const std::int64_t value = geometry_.value_head(group_);
  for (std::int64_t t = 0; t < input_.tokens; ++t) {
    const std::int64_t slot = input_.slots[t];
    for (std::int64_t c = 0; c < width; c += part) {
      float* target =
          input_.d_values + t * geometry_.value_width() + geometry_.value_column(value, c);
      if (slot >= 0) {
        put(add, scratch_.d_values.data() + slot * width + c, target, part);
      } else if (!add) {
        std::fill_n(target, part, 0.0F);
      }
    }
  }
}

}  // namespace

DifferentialGradients attention_backward(const AttentionGeometry& geometry,
                                         const DifferentialParameters& differential,
                                         const std::vector<AttentionGradientInput>& sequences,
                                         AttentionBackwardScratch& scratch,
                                         const Parallel& parallel) {
  const std::int64_t values = geometry.value_heads;
  const std::int64_t groups = geometry.groups / values;  // of a value head
  const std::int64_t tasks = std::ssize(sequences) * values;
  scratch.workers.resize(
      std::max(scratch.workers.size(), static_cast<std::size_t>(parallel.threads())));
  DifferentialGradients sum;
  sum.norm_weight.resize(differential.norm_weight.size());
  scratch.parts.assign(static_cast<std::size_t>(tasks), sum);
  parallel.run(tasks, [&](std::int64_t task, int worker) {
    std::vector<std::int64_t> written;  // key heads
    for (std::int64_t i = 0; i < groups; ++i) {
      GroupBackward(geometry, differential, sequences[static_cast<std::size_t>(task / values)],
                    task % values * groups + i, scratch.workers[static_cast<std::size_t>(worker)],
                    scratch.parts[static_cast<std::size_t>(task)])
          .run(written);
    }
  });
  for (const DifferentialGradients& part : scratch.parts) {
    sum.lambda += part.lambda;
    for (std::size_t c = 0; c < sum.norm_weight.size(); ++c) {
      sum.norm_weight[c] += part.norm_weight[c];
    }
  }
  return sum;
}

}  // namespace diffllama
