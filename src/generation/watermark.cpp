#include "generation/watermark.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>
#include <utility>

namespace diffllama {
namespace {

constexpr std::size_t kTableSize = 1000003;
// Tokens that selfhash looks at, the likeliest.
constexpr std::size_t kCandidates = 40;

// The first `count` places of torch.randperm(values.size()).
void shuffle_first(std::vector<std::int32_t>& values, std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::iota(values.begin(), values.end(), 0);
  for (std::size_t i = 0; i < count && i + 1 < values.size(); ++i) {
    std::swap(values[i], values[i + random() % (values.size() - i)]);
  }
}

}  // namespace

Watermark::Watermark(const WatermarkingConfig& config) : config_(config) {
  if (config_.seeding_scheme != WatermarkingConfig::SeedingScheme::selfhash) return;
  hash_table_.resize(kTableSize);
  shuffle_first(hash_table_, kTableSize, static_cast<std::uint32_t>(config_.hashing_key));
}

// Torch multiplies int64 that wrap, and takes the seed of its generator modulo 2^64 - 1.
std::uint32_t Watermark::seed_of(std::span<const std::int64_t> context) const {
  const auto key = static_cast<std::uint64_t>(config_.hashing_key);
  if (hash_table_.empty()) {
    return static_cast<std::uint32_t>(key * static_cast<std::uint64_t>(context.back()));
  }
  const auto hashed = [&](std::int64_t id) {
    return static_cast<std::uint64_t>(hash_table_[static_cast<std::size_t>(id) % kTableSize]) + 1;
  };
  const std::uint64_t last = hashed(context.back());
  std::int64_t seed = std::numeric_limits<std::int64_t>::max();
  for (const std::int64_t id : context) {
    seed = std::min(seed, static_cast<std::int64_t>(key * hashed(id) * last));
  }
  return static_cast<std::uint32_t>(seed < 0 ? seed - 1 : seed);
}

std::span<const std::int32_t> Watermark::draw(std::uint32_t seed, std::size_t vocabulary,
                                              std::size_t count) {
  permutation_.resize(vocabulary);
  shuffle_first(permutation_, count, seed);
  return std::span(permutation_).first(count);
}

void Watermark::apply(std::span<float> scores, std::span<const std::int64_t> ids) {
  const auto width = static_cast<std::size_t>(config_.context_width);
  if (ids.size() < width) return;
  const auto count =
      static_cast<std::size_t>(static_cast<double>(scores.size()) * config_.greenlist_ratio);
  if (!hash_table_.empty()) {
    add_self_hashed(scores, ids, count);
    return;
  }
  for (const std::int32_t id : draw(seed_of(ids.last(width)), scores.size(), count)) {
    scores[static_cast<std::size_t>(id)] += static_cast<float>(config_.bias);
  }
}

// A token is green when the list that it would itself seed holds it.
void Watermark::add_self_hashed(std::span<float> scores, std::span<const std::int64_t> ids,
                                std::size_t count) {
  const std::size_t candidates = std::min(kCandidates, scores.size());
  order_.resize(scores.size());
  std::iota(order_.begin(), order_.end(), 0);
  const auto score_of = [&](std::int32_t id) { return scores[static_cast<std::size_t>(id)]; };
  std::ranges::partial_sort(order_, order_.begin() + static_cast<std::ptrdiff_t>(candidates),
                            [&](std::int32_t a, std::int32_t b) {
                              return score_of(a) > score_of(b) ||
                                     (score_of(a) == score_of(b) && a < b);
                            });
  for (std::size_t i = 0; i < candidates; ++i) {
    const auto before = static_cast<std::size_t>(config_.context_width - 1);
    context_.assign(ids.end() - static_cast<std::ptrdiff_t>(before), ids.end());
    context_.push_back(order_[i]);
    const auto green = draw(seed_of(context_), scores.size(), count);
    if (std::ranges::find(green, order_[i]) == green.end()) continue;
    scores[static_cast<std::size_t>(order_[i])] += static_cast<float>(config_.bias);
  }
}

}  // namespace diffllama
