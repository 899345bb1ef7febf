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
// heads of the group, `head` output heads; the softmax head of map m is head + m H/2.
class GroupBackward {
 public:
  GroupBackward(const AttentionGeometry& geometry, const DifferentialParameters& differential,
                const AttentionGradientInput& input, std::int64_t group,
                AttentionBackwardScratch::Worker& scratch)
      : geometry_(geometry),
        differential_(differential),
        input_(input),
        group_(group),
        scratch_(scratch),
        tile_tokens_(std::max<std::int64_t>(1, kTileRows / geometry.group_heads)) {
    for (std::int64_t t = 0; t < input.tokens; ++t) keys_ = std::max(keys_, input.slots[t] + 1);
  }

  double run() {
    gather_keys();
    double d_lambda = 0;
    for (std::int64_t first = 0; first < input_.tokens; first += tile_tokens_) {
      first_ = first;
      tokens_ = std::min(tile_tokens_, input_.tokens - first);
      const std::int64_t* limits = input_.key_limit + first;
      seen_ = input_.mask != nullptr ? keys_ : *std::max_element(limits, limits + tokens_);
      gather_rows();
      if (seen_ > 0) {
        make_maps();
        d_lambda += differentiate_maps();
        add_products();
      }
      scatter_queries();
    }
    scatter_keys();
    return d_lambda;
  }

 private:
  std::int64_t rows() const { return tokens_ * geometry_.group_heads; }
  std::int64_t token_of(std::int64_t row) const { return first_ + row / geometry_.group_heads; }
  std::int64_t head_of(std::int64_t row) const {
    return group_ * geometry_.group_heads + row % geometry_.group_heads;
  }
  std::int64_t softmax_head(std::int64_t row, std::int64_t map) const {
    return head_of(row) + map * geometry_.output_heads();
  }
  // How many keys, from the first, a row may look at.
  std::int64_t limit(std::int64_t row) const {
    return input_.mask != nullptr ? keys_ : input_.key_limit[token_of(row)];
  }
  float* map_row(std::int64_t map, std::int64_t row) const {
    return scratch_.maps.data() + (map * rows() + row) * seen_;
  }

  void gather_keys();
  void gather_rows();
  void make_maps();
  double differentiate_maps();
  void add_products();
  void scatter_queries();
  void scatter_keys();

  const AttentionGeometry& geometry_;
  const DifferentialParameters& differential_;
  const AttentionGradientInput& input_;
  std::int64_t group_;
  AttentionBackwardScratch::Worker& scratch_;
  std::int64_t tile_tokens_;
  std::int64_t keys_ = 0;                // S
  std::int64_t first_ = 0, tokens_ = 0;  // of the tile
  std::int64_t seen_ = 0;                // keys that any token of the tile may see
};

template <class T>
T* reserve(Buffer<T>& buffer, std::int64_t count) {
  return buffer.reserve(static_cast<std::size_t>(count));
}

// The keys and values of the group that later tokens may see, side by side, and zeroed gradients.
void GroupBackward::gather_keys() {
  const std::int64_t d = geometry_.head_dim;
  const std::int64_t maps = geometry_.maps;
  const std::int64_t width = maps * d;
  float* keys = reserve(scratch_.keys, maps * keys_ * d);
  float* values = reserve(scratch_.values, keys_ * width);
  std::fill_n(reserve(scratch_.d_keys, maps * keys_ * d), maps * keys_ * d, 0.0F);
  std::fill_n(reserve(scratch_.d_values, keys_ * width), keys_ * width, 0.0F);
  for (std::int64_t t = 0; t < input_.tokens; ++t) {
    const std::int64_t slot = input_.slots[t];
    if (slot < 0) continue;
    for (std::int64_t map = 0; map < maps; ++map) {
      const std::int64_t from = (t * geometry_.key_heads() + group_ + map * geometry_.groups) * d;
      std::copy_n(input_.keys + from, d, keys + (map * keys_ + slot) * d);
      std::copy_n(input_.values + from, d, values + slot * width + map * d);
    }
  }
}

// The tile's queries, and the gradient of what P V gave: through the per-head norm, whose input was
// output / (output_scale r).
void GroupBackward::gather_rows() {
  const std::int64_t d = geometry_.head_dim;
  const std::int64_t width = geometry_.value_columns;
  float* queries = reserve(scratch_.queries, geometry_.maps * rows() * d);
  float* d_rows = reserve(scratch_.d_rows, rows() * width);
  std::vector<float> raw(static_cast<std::size_t>(width));
  for (std::int64_t row = 0; row < rows(); ++row) {
    const std::int64_t token = token_of(row);
    for (std::int64_t map = 0; map < geometry_.maps; ++map) {
      const std::int64_t from = (token * geometry_.query_heads() + softmax_head(row, map)) * d;
      std::copy_n(input_.queries + from, d, queries + (map * rows() + row) * d);
    }
    const std::int64_t at = token * geometry_.output_heads() + head_of(row);
    float* d_row = d_rows + row * width;
    if (geometry_.maps == 1) {
      std::copy_n(input_.d_output + at * width, width, d_row);
      continue;
    }
    const float r = input_.reciprocal_rms[at];
    std::copy_n(input_.output + at * width, width, raw.data());
    scale(raw.data(), 1.0F / (differential_.output_scale * r), width);
    std::fill_n(d_row, width, 0.0F);
    rms_norm_backward(raw.data(), nullptr, r, differential_.output_scale,
                      input_.d_output + at * width, d_row, width);
  }
}

// The softmax maps of the tile; zero where a row may not look.
void GroupBackward::make_maps() {
  const std::int64_t d = geometry_.head_dim;
  const float factor = std::numbers::log2e_v<float> / std::sqrt(static_cast<float>(d));
  reserve(scratch_.maps, geometry_.maps * rows() * seen_);
  for (std::int64_t map = 0; map < geometry_.maps; ++map) {
    gemm(ProductType::float32, {.m = rows(),
                                .n = seen_,
                                .k = d,
                                .a = scratch_.queries.data() + map * rows() * d,
                                .lda = d,
                                .b = scratch_.keys.data() + map * keys_ * d,
                                .ldb = d,
                                .transpose_b = true,
                                .c = map_row(map, 0),
                                .ldc = seen_});
    for (std::int64_t row = 0; row < rows(); ++row) {
      float* x = map_row(map, row);
      const std::int64_t looks = limit(row);
      if (input_.mask != nullptr) {
        const std::uint8_t* mask = input_.mask + token_of(row) * input_.mask_stride;
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

// P, and the gradients of the scores in place of the maps. Returns the tile's part of d lambda.
double GroupBackward::differentiate_maps() {
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
  double d_lambda = 0;
  for (std::int64_t row = 0; row < rows(); ++row) {
    const float* g = d_p + row * seen_;
    float* first = map_row(0, row);
    float* second = geometry_.maps == 2 ? map_row(1, row) : nullptr;
    weighted_sum(first, 1.0F, second, -differential_.lambda, p + row * seen_, seen_);
    softmax_backward(first, g, dot(first, g, seen_), factor, first, seen_);
    if (second == nullptr) continue;
    const float sum = dot(second, g, seen_);
    d_lambda -= static_cast<double>(sum);
    softmax_backward(second, g, sum, -differential_.lambda * factor, second, seen_);
  }
  return d_lambda;
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
    gemm(ProductType::float32, {.m = rows(),
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
                                .k = rows(),
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
    for (std::int64_t row = 0; row < rows(); ++row) {
      float* target =
          input_.d_queries + (token_of(row) * geometry_.query_heads() + softmax_head(row, map)) * d;
      if (seen_ == 0) {
        std::fill_n(target, d, 0.0F);
      } else {
        std::copy_n(scratch_.d_queries.data() + (map * rows() + row) * d, d, target);
      }
    }
  }
}

void GroupBackward::scatter_keys() {
  const std::int64_t d = geometry_.head_dim;
  const std::int64_t width = geometry_.value_columns;
  for (std::int64_t t = 0; t < input_.tokens; ++t) {
    const std::int64_t slot = input_.slots[t];
    for (std::int64_t map = 0; map < geometry_.maps; ++map) {
      const std::int64_t at = (t * geometry_.key_heads() + group_ + map * geometry_.groups) * d;
      if (slot < 0) {
        std::fill_n(input_.d_keys + at, d, 0.0F);
        std::fill_n(input_.d_values + at, d, 0.0F);
      } else {
        std::copy_n(scratch_.d_keys.data() + (map * keys_ + slot) * d, d, input_.d_keys + at);
        std::copy_n(scratch_.d_values.data() + slot * width + map * d, d, input_.d_values + at);
      }
    }
  }
}

}  // namespace

double attention_backward(const AttentionGeometry& geometry,
                          const DifferentialParameters& differential,
                          const std::vector<AttentionGradientInput>& sequences,
                          AttentionBackwardScratch& scratch, const Parallel& parallel) {
  const std::int64_t tasks = std::ssize(sequences) * geometry.groups;
  scratch.workers.resize(
      std::max(scratch.workers.size(), static_cast<std::size_t>(parallel.threads())));
  scratch.d_lambda.assign(static_cast<std::size_t>(tasks), 0.0);
  parallel.run(tasks, [&](std::int64_t task, int worker) {
    GroupBackward group(geometry, differential,
                        sequences[static_cast<std::size_t>(task / geometry.groups)],
                        task % geometry.groups, scratch.workers[static_cast<std::size_t>(worker)]);
    scratch.d_lambda[static_cast<std::size_t>(task)] = group.run();
  });
  double d_lambda = 0;
  for (const double part : scratch.d_lambda) d_lambda += part;
  return d_lambda;
}

}  // namespace diffllama
