#include "tasks/bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <optional>
#include <span>

#include "base/random.h"
#include "config/causal_lm.h"
#include "diffllama/error.h"
#include "generation/step_logits.h"
#include "generation/token_selector.h"
#include "tasks/machine_speed.h"

namespace diffllama {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double mean(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

class Bench {
  // Tokens of the prompt that is run first: enough to have all memory and threads at hand.
  static constexpr std::int64_t kWarmUp = 512;

 public:
  Bench(const ForwardModel& model, const Parallel& parallel, const BenchOptions& options)
      : model_(model),
        parallel_(parallel),
        options_(options),
        step_logits_(model, parallel),
        selector_(GenerationConfig{}, {}) {}

  BenchResult prompt(std::int64_t tokens, std::int64_t depth) {
    BenchResult result{.n_prompt = tokens, .n_depth = depth};
    const PackedMatrix& weight = model_.weights.layers.front().down_proj.weight;
    ProductPeak peak(weight.format(), model_.weights.product_type, parallel_);
    std::vector<double> peaks;
    time_prompt(std::min(tokens, kWarmUp), 0);
    for (std::int64_t i = 0; i < options_.repetitions; ++i) {
      peaks.push_back(peak.measure());
      result.samples_ts.push_back(static_cast<double>(tokens) / time_prompt(tokens, depth));
    }
    result.flop_per_second = flop(tokens, 1, depth) / static_cast<double>(tokens) * result.avg_ts();
    result.product_peak = mean(peaks);
    return result;
  }

  BenchResult generation(std::int64_t tokens, std::int64_t depth) {
    BenchResult result{.n_gen = tokens, .n_depth = depth};
    ReadBandwidth memory(options_.bandwidth_bytes, parallel_);
    std::vector<double> bandwidths;
    time_generation(1, 0);
    for (std::int64_t i = 0; i < options_.repetitions; ++i) {
      bandwidths.push_back(memory.measure());
      result.samples_ts.push_back(static_cast<double>(tokens) / time_generation(tokens, depth));
    }
    result.flop_per_second =
        flop(tokens, tokens, depth) / static_cast<double>(tokens) * result.avg_ts();
    result.bytes_per_second = bytes_per_token(tokens, depth) * result.avg_ts();
    result.read_bandwidth = mean(bandwidths);
    return result;
  }

 private:
  std::vector<std::int64_t> random_ids(std::int64_t count) const {
    const Random random(0, 0);
    std::vector<std::int64_t> ids(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < ids.size(); ++i) {
      ids[i] = static_cast<std::int64_t>(random.uniform(i) *
                                         static_cast<double>(model_.config.vocab_size));
    }
    return ids;
  }

  std::span<float> step(SequenceCache& cache, std::span<const std::int64_t> ids) {
    return step_logits_.last_logits(cache, ids);
  }

  // The cache of the first `depth` ids, which is made once, with room for `tokens` more: what the
  // system takes to give memory is no part of a rate.
  SequenceCache& cache_of(std::span<const std::int64_t> ids, std::int64_t depth,
                          std::int64_t tokens) {
    if (!cache_ || depth_ != depth) {
      cache_.emplace(model_.stack.make_cache());
      depth_ = depth;
      if (depth > 0) step(*cache_, ids.first(static_cast<std::size_t>(depth)));
    }
    cache_->truncate(depth, depth);
    cache_->reserve(tokens);
    return *cache_;
  }

  double time_prompt(std::int64_t tokens, std::int64_t depth) {
    const std::vector<std::int64_t> ids = random_ids(depth + tokens);
    SequenceCache& cache = cache_of(ids, depth, tokens);
    const auto start = Clock::now();
    step(cache, ids);
    return seconds_since(start);
  }

  double time_generation(std::int64_t tokens, std::int64_t depth) {
    std::vector<std::int64_t> ids = random_ids(depth + 1);
    SequenceCache& cache = cache_of(ids, depth, tokens);
    const auto start = Clock::now();
    for (std::int64_t i = 0; i < tokens; ++i) {
      ids.push_back(selector_.select(step(cache, ids), {.ids = ids, .prompt_length = depth + 1}));
    }
    return seconds_since(start);
  }

  // Of `tokens` tokens after `depth` others, `heads` of which go through the head. Attention: every
  // query head's d values with each key that it sees, and as many for the values.
  double flop(std::int64_t tokens, std::int64_t heads, std::int64_t depth) const {
    const ModelConfig& config = model_.config;
    const auto count = static_cast<double>(tokens);
    const double keys = count * (static_cast<double>(depth) + (count + 1) / 2);
    const auto attention = static_cast<double>(4 * config.num_attention_heads * config.head_dim *
                                               config.num_hidden_layers);
    const auto layers = static_cast<double>(2 * model_.weights.layer_parameters());
    const auto head = static_cast<double>(2 * config.vocab_size * config.hidden_size);
    return layers * count + head * static_cast<double>(heads) + attention * keys;
  }

  double bytes_per_token(std::int64_t tokens, std::int64_t depth) const {
    const double keys = static_cast<double>(depth) + (static_cast<double>(tokens) + 1) / 2;
    return static_cast<double>(model_.weights.packed_bytes()) +
           keys * static_cast<double>(model_.stack.make_cache().layout().bytes_per_key());
  }

  const ForwardModel& model_;
  const Parallel& parallel_;
  const BenchOptions& options_;
  StepLogits step_logits_;
  TokenSelector selector_;
  std::optional<SequenceCache> cache_;  // of `depth_` ids
  std::int64_t depth_ = 0;
};

}  // namespace

double BenchResult::avg_ts() const { return mean(samples_ts); }

double BenchResult::median_ts() const {
  std::vector<double> sorted = samples_ts;
  std::ranges::sort(sorted);
  const std::size_t middle = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

double BenchResult::stddev_ts() const {
  if (samples_ts.size() < 2) return 0;
  const double average = avg_ts();
  double sum = 0;
  for (const double sample : samples_ts) sum += (sample - average) * (sample - average);
  return std::sqrt(sum / static_cast<double>(samples_ts.size() - 1));
}

std::vector<BenchResult> bench(const ForwardModel& model, const Parallel& parallel,
                               const BenchOptions& options) {
  require_causal_lm("[bench]", model.config);
  Bench bench(model, parallel, options);
  std::vector<BenchResult> results;
  for (const std::int64_t depth : options.n_depth) {
    for (const std::int64_t tokens : options.n_prompt) {
      if (tokens > 0) results.push_back(bench.prompt(tokens, depth));
    }
    for (const std::int64_t tokens : options.n_gen) {
      if (tokens > 0) results.push_back(bench.generation(tokens, depth));
    }
  }
  return results;
}

}  // namespace diffllama
