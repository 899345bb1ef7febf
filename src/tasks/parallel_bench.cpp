#include "tasks/parallel_bench.h"

#include <chrono>
#include <limits>
#include <numeric>
#include <span>
#include <utility>

#include "base/random.h"
#include "engine/step_loop.h"
#include "tasks/machine_speed.h"

namespace diffllama {
namespace {

using Clock = std::chrono::steady_clock;

double mean(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double seconds_between(Clock::time_point start, Clock::time_point end) {
  return std::chrono::duration<double>(end - start).count();
}

class ParallelBench {
 public:
  ParallelBench(const ForwardModel& model, const Parallel& parallel,
                const ParallelBenchOptions& options, std::int64_t count)
      : model_(model),
        options_(options),
        count_(count),
        memory_(options.bandwidth_bytes, parallel),
        loop_(model, parallel,
              {.max_blocks = std::numeric_limits<std::int32_t>::max(),
               .max_step_tokens = count * options.n_prompt,
               .max_sequences = count,
               .prefix_cache = false},
              nullptr, [](const std::string&) {}) {}

  ParallelBenchResult run() {
    ParallelBenchResult result{
        .n_parallel = count_, .n_prompt = options_.n_prompt, .n_gen = options_.n_gen};
    std::vector<double> bandwidths;
    time(1);
    for (std::int64_t i = 0; i < options_.repetitions; ++i) {
      bandwidths.push_back(memory_.measure());
      const auto [prompt, decode] = time(options_.n_gen);
      result.prompt_samples_ts.push_back(static_cast<double>(count_ * options_.n_prompt) / prompt);
      if (options_.n_gen == 0) continue;
      result.decode_samples_ts.push_back(static_cast<double>(count_ * options_.n_gen) / decode);
    }
    if (const std::optional<double> decode = result.decode_ts()) {
      result.bytes_per_second = bytes_per_step() * *decode / static_cast<double>(count_);
      result.read_bandwidth = mean(bandwidths);
    }
    return result;
  }

 private:
  // Seconds until every prompt is there, and those that the tokens after the first take.
  std::pair<double, double> time(std::int64_t n_gen) {
    for (std::int64_t i = 0; i < count_; ++i) loop_.add(request(i, n_gen));
    const auto start = Clock::now();
    std::int64_t prompts = 0;
    while (prompts < count_) prompts += std::ssize(loop_.step().prompts);
    const auto middle = Clock::now();
    while (loop_.has_work()) loop_.step();
    return {seconds_between(start, middle), seconds_between(middle, Clock::now())};
  }

  Request request(std::int64_t number, std::int64_t n_gen) const {
    const Random random(0, static_cast<std::uint64_t>(number));
    Request request;
    request.ids.resize(static_cast<std::size_t>(options_.n_prompt));
    for (std::size_t i = 0; i < request.ids.size(); ++i) {
      request.ids[i] = static_cast<std::int64_t>(random.uniform(i) *
                                                 static_cast<double>(model_.config.vocab_size));
    }
    request.config.max_new_tokens = n_gen + 1;  // the prompt's own logits give the first
    request.config.ignore_eos = true;
    return request;
  }

  // Weights once, and what each sequence's tokens see on average.
  double bytes_per_step() const {
    const double keys =
        static_cast<double>(options_.n_prompt) + (static_cast<double>(options_.n_gen) + 1) / 2;
    return static_cast<double>(model_.weights.packed_bytes()) +
           static_cast<double>(count_) * keys *
               static_cast<double>(model_.stack.make_cache().layout().bytes_per_key());
  }

  const ForwardModel& model_;
  const ParallelBenchOptions& options_;
  std::int64_t count_;
  ReadBandwidth memory_;
  StepLoop loop_;
};

}  // namespace

double ParallelBenchResult::prompt_ts() const { return mean(prompt_samples_ts); }

std::optional<double> ParallelBenchResult::decode_ts() const {
  if (decode_samples_ts.empty()) return std::nullopt;
  return mean(decode_samples_ts);
}

std::vector<ParallelBenchResult> parallel_bench(const ForwardModel& model, const Parallel& parallel,
                                                const ParallelBenchOptions& options) {
  std::vector<ParallelBenchResult> results;
  for (const std::int64_t count : options.n_parallel) {
    results.push_back(ParallelBench(model, parallel, options, count).run());
  }
  return results;
}

}  // namespace diffllama
