#include "tasks/bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numeric>
#include <span>

#include "base/buffer.h"
#include "base/random.h"
#include "config/names.h"
#include "diffllama/error.h"
#include "generation/last_logits.h"
#include "generation/token_selector.h"

namespace diffllama {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double mean(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// How fast all threads together read memory that no cache holds.
class ReadBandwidth {
 public:
  ReadBandwidth(std::size_t bytes, const Parallel& parallel)
      : parallel_(parallel),
        pieces_(static_cast<std::int64_t>((bytes + kPiece - 1) / kPiece)),
        sums_(static_cast<std::size_t>(pieces_)) {
    std::byte* data = data_.reserve(static_cast<std::size_t>(pieces_) * kPiece);
    parallel_.run(pieces_, [data](std::int64_t piece, int /*worker*/) {
      std::memset(data + static_cast<std::size_t>(piece) * kPiece, 1, kPiece);
    });
  }

  /// Bytes per second, the best of three rounds.
  double measure() {
    double best = 0;
    for (int round = 0; round < 3; ++round) {
      const auto start = Clock::now();
      parallel_.run(pieces_, [this](std::int64_t piece, int /*worker*/) {
        sums_[static_cast<std::size_t>(piece)] +=
            sum(data_.data() + static_cast<std::size_t>(piece) * kPiece);
      });
      const double bytes = static_cast<double>(pieces_) * static_cast<double>(kPiece);
      best = std::max(best, bytes / seconds_since(start));
    }
    return best;
  }

 private:
  static constexpr std::size_t kPiece = std::size_t{1} << 20;

  // In chains enough that additions never wait for each other.
  static std::uint64_t sum(const std::byte* data) {
    constexpr std::size_t kChains = 32;
    std::uint64_t chains[kChains] = {};
    for (std::size_t at = 0; at < kPiece; at += sizeof(chains)) {
      std::uint64_t words[kChains];
      std::memcpy(words, data + at, sizeof(words));
      for (std::size_t i = 0; i < kChains; ++i) chains[i] += words[i];
    }
    return std::accumulate(std::begin(chains), std::end(chains), std::uint64_t{0});
  }

  const Parallel& parallel_;
  std::int64_t pieces_;
  Buffer<std::byte> data_;
  std::vector<std::uint64_t> sums_;  // kept, so that no reading can be left out
};

class Bench {
 public:
  Bench(const ForwardModel& model, const Parallel& parallel, const BenchOptions& options)
      : model_(model),
        parallel_(parallel),
        options_(options),
        last_logits_(model, parallel),
        selector_(GenerationConfig{}, {}) {}

  BenchResult prompt() {
    BenchResult result{.n_prompt = options_.n_prompt, .n_depth = options_.n_depth};
    time_prompt(0);
    for (std::int64_t i = 0; i < options_.repetitions; ++i) {
      result.samples_ts.push_back(static_cast<double>(options_.n_prompt) /
                                  time_prompt(options_.n_depth));
    }
    result.flop_per_second =
        flop(options_.n_prompt, 1) / static_cast<double>(options_.n_prompt) * result.avg_ts();
    return result;
  }

  BenchResult generation() {
    BenchResult result{.n_gen = options_.n_gen, .n_depth = options_.n_depth};
    ReadBandwidth memory(options_.bandwidth_bytes, parallel_);
    std::vector<double> bandwidths;
    time_generation(0, 1);
    for (std::int64_t i = 0; i < options_.repetitions; ++i) {
      bandwidths.push_back(memory.measure());
      result.samples_ts.push_back(static_cast<double>(options_.n_gen) /
                                  time_generation(options_.n_depth, options_.n_gen));
    }
    result.flop_per_second = flop(options_.n_gen, options_.n_gen) /
                             static_cast<double>(options_.n_gen) * result.avg_ts();
    result.bytes_per_second = bytes_per_token() * result.avg_ts();
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
    const LastLogits::Sequence sequence{.cache = &cache, .ids = ids};
    return last_logits_.run({&sequence, 1});
  }

  SequenceCache cache_of_depth(std::span<const std::int64_t> ids) {
    SequenceCache cache = model_.stack.make_cache();
    if (!ids.empty()) step(cache, ids);
    return cache;
  }

  double time_prompt(std::int64_t depth) {
    const std::vector<std::int64_t> ids = random_ids(depth + options_.n_prompt);
    SequenceCache cache = cache_of_depth(std::span(ids).first(static_cast<std::size_t>(depth)));
    const auto start = Clock::now();
    step(cache, ids);
    return seconds_since(start);
  }

  double time_generation(std::int64_t depth, std::int64_t tokens) {
    std::vector<std::int64_t> ids = random_ids(depth + 1);
    SequenceCache cache = cache_of_depth(std::span(ids).first(static_cast<std::size_t>(depth)));
    const auto start = Clock::now();
    for (std::int64_t i = 0; i < tokens; ++i) {
      ids.push_back(selector_.select(step(cache, ids), {.ids = ids, .prompt_length = depth + 1}));
    }
    return seconds_since(start);
  }

  // Of `tokens` tokens, `heads` of which go through the head. Attention: every query head's d
  // values with each key that it sees, and as many for the values.
  double flop(std::int64_t tokens, std::int64_t heads) const {
    const ModelConfig& config = model_.config;
    const auto count = static_cast<double>(tokens);
    const double keys = count * (static_cast<double>(options_.n_depth) + (count + 1) / 2);
    const auto attention = static_cast<double>(4 * config.num_attention_heads * config.head_dim *
                                               config.num_hidden_layers);
    const auto layers = static_cast<double>(2 * model_.weights.layer_parameters());
    const auto head = static_cast<double>(2 * config.vocab_size * config.hidden_size);
    return layers * count + head * static_cast<double>(heads) + attention * keys;
  }

  double bytes_per_token() const {
    const double keys =
        static_cast<double>(options_.n_depth) + (static_cast<double>(options_.n_gen) + 1) / 2;
    return static_cast<double>(model_.weights.packed_bytes()) +
           keys * static_cast<double>(model_.stack.make_cache().layout().bytes_per_key());
  }

  const ForwardModel& model_;
  const Parallel& parallel_;
  const BenchOptions& options_;
  LastLogits last_logits_;
  TokenSelector selector_;
};

}  // namespace

double BenchResult::avg_ts() const { return mean(samples_ts); }

double BenchResult::stddev_ts() const {
  if (samples_ts.size() < 2) return 0;
  const double average = avg_ts();
  double sum = 0;
  for (const double sample : samples_ts) sum += (sample - average) * (sample - average);
  return std::sqrt(sum / static_cast<double>(samples_ts.size() - 1));
}

std::vector<BenchResult> bench(const ForwardModel& model, const Parallel& parallel,
                               const BenchOptions& options) {
  if (model.config.architecture != Architecture::causal_lm) {
    throw InvalidArgument("[bench] expected a causal LM, got " +
                          architecture_name(model.config.model_type, model.config.architecture));
  }
  Bench bench(model, parallel, options);
  std::vector<BenchResult> results;
  if (options.n_prompt > 0) results.push_back(bench.prompt());
  if (options.n_gen > 0) results.push_back(bench.generation());
  return results;
}

}  // namespace diffllama
