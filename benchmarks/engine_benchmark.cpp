// What the engine promises to those who wait, measured on a model: engine_benchmark MODEL [threads]
//   waiting  the longest gap between two tokens of 8 streams while a prompt of 4,096 tokens is
//   taken
//            in, beside what one step of the budget of 512 tokens takes
//   prefix   time to the first token of 2,048 tokens that the prefix cache knows and 16 that it
//   does
//            not, beside all of them unknown; the logits must be the same
// Medians of rounds, turn about.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <utility>
#include <vector>

#include "diffllama/engine.h"
#include "diffllama/error.h"
#include "diffllama/model.h"

namespace {

using diffllama::Engine;
using diffllama::Model;
using diffllama::Request;
using Clock = std::chrono::steady_clock;

constexpr std::int64_t kBudget = 512;
constexpr int kRounds = 3;

double milliseconds_since(Clock::time_point start) {
  return 1e3 * std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

Request request_of(const Model& model, std::int64_t length, std::int64_t max_new_tokens,
                   std::mt19937& random) {
  Request request;
  request.ids.resize(static_cast<std::size_t>(length));
  for (std::int64_t& id : request.ids) {
    id = std::uniform_int_distribution<std::int64_t>(0, model.config().vocab_size - 1)(random);
  }
  request.config.max_new_tokens = max_new_tokens;
  request.config.ignore_eos = true;
  return request;
}

// Milliseconds until nothing is left to do, and the first token's logits.
std::pair<double, std::vector<float>> time_to_first_token(Engine& engine, Request request) {
  request.logits = true;
  std::vector<float> logits;
  engine.add(std::move(request));
  const auto start = Clock::now();
  while (engine.has_work()) {
    const diffllama::StepEvents& events = engine.step();
    if (!events.tokens.empty()) logits = events.tokens.front().logits;
  }
  return {milliseconds_since(start), logits};
}

void measure_waiting(const Model& model, std::mt19937& random) {
  std::vector<double> budgets;
  std::vector<double> gaps;
  for (int round = 0; round < kRounds; ++round) {
    Engine engine(
        model,
        {.memory_bytes = std::size_t{2} << 30, .max_step_tokens = kBudget, .prefix_cache = false});
    budgets.push_back(time_to_first_token(engine, request_of(model, kBudget, 1, random)).first);
    for (int i = 0; i < 8; ++i) engine.add(request_of(model, 32, 1000, random));
    for (int i = 0; i < 3; ++i) engine.step();
    engine.add(request_of(model, 4096, 1, random));
    double longest = 0;
    for (bool waits = true; waits;) {
      const auto start = Clock::now();
      waits = engine.step().prompts.empty();  // every stream has a token in every step
      longest = std::max(longest, milliseconds_since(start));
    }
    gaps.push_back(longest);
  }
  std::printf("waiting: a step of %ld tokens %.1f ms, longest gap %.1f ms, ratio %.2f\n",
              static_cast<long>(kBudget), median(budgets), median(gaps),
              median(gaps) / median(budgets));
}

void measure_prefix(const Model& model, std::mt19937& random) {
  std::vector<double> colds;
  std::vector<double> warms;
  for (int round = 0; round < kRounds; ++round) {
    Engine engine(model, {.memory_bytes = std::size_t{2} << 30});
    Request request = request_of(model, 2048 + 16, 1, random);
    colds.push_back(time_to_first_token(engine, request).first);
    request.ids.back() = (request.ids.back() + 1) % model.config().vocab_size;
    const auto [warm, logits] = time_to_first_token(engine, request);
    warms.push_back(warm);
    Engine cold(model, {.memory_bytes = std::size_t{2} << 30, .prefix_cache = false});
    if (time_to_first_token(cold, request).second != logits) {
      std::puts("prefix: expected the same logits cold and warm, got others");
      std::exit(1);
    }
  }
  std::printf("prefix: cold %.1f ms, warm %.1f ms, ratio %.1f, same bits\n", median(colds),
              median(warms), median(colds) / median(warms));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::puts("usage: engine_benchmark MODEL [threads]");
    return 2;
  }
  try {
    diffllama::LoadOptions options;
    options.threads = argc == 3 ? std::atoi(argv[2]) : 0;
    const Model model = Model::from_pretrained(argv[1], options);
    std::mt19937 random(1);
    measure_waiting(model, random);
    measure_prefix(model, random);
  } catch (const diffllama::Error& error) {
    std::printf("error: %s\n", error.what());
    return 1;
  }
  return 0;
}
