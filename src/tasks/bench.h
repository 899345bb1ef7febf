#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/parallel.h"
#include "model/forward.h"

namespace diffllama {

struct BenchOptions {
  std::vector<std::int64_t> n_prompt = {512};  // tokens of a prompt; 0: leaves prompts out
  std::vector<std::int64_t> n_gen = {64};      // tokens generated; 0: leaves generation out
  std::vector<std::int64_t> n_depth = {0};     // tokens in the cache before either begins
  std::int64_t repetitions = 5;
  /// Memory that plain reading goes over: more than the caches hold.
  std::size_t bandwidth_bytes = std::size_t{1} << 30;
};

/// Speeds of one kind of work. Of n_prompt and n_gen one is 0.
struct BenchResult {
  std::int64_t n_prompt = 0, n_gen = 0, n_depth = 0;
  std::vector<double> samples_ts = {};  // tokens per second, one a repetition; never empty
  double flop_per_second = 0;           // products and attention, mean of the repetitions
  /// Prompts alone: what the model's own kind of product reaches with operands that the caches
  /// hold.
  std::optional<double> product_peak = {};
  /// Generation alone: weights and cache that were read, and what plain reading by the same threads
  /// reached; bytes.
  std::optional<double> bytes_per_second = {}, read_bandwidth = {};

  double avg_ts() const;
  double median_ts() const;
  double stddev_ts() const;  // of a sample (n - 1); 0 for one repetition
};

/// Times a causal LM through the step that `generate` repeats, after a warm-up that is not timed: a
/// prompt of random tokens up to the logits of its last one; then greedy generation, a token at a
/// time, from one random token on (or from n_depth of them). The machine's limits are measured
/// beside each repetition (machine_speed.h). Results: for each depth the prompts, then the
/// generations, as far as they are asked for. Throws InvalidArgument when the model is not a causal
/// LM.
std::vector<BenchResult> bench(const ForwardModel& model, const Parallel& parallel,
                               const BenchOptions& options);

}  // namespace diffllama
