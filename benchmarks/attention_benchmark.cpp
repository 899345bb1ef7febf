// Attention alone, of the shape of a 0.35 B model (16 heads of 64, 8 KV heads): a chunk of a
// prompt in FLOP per second of causal products, and a decoded token in bytes of the cache per
// second, DiffLlama's and Llama's. attention_benchmark [threads], 1 by default.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/isa.h"
#include "model/attention.h"
#include "model/kv_cache.h"

namespace {

using diffllama::AttentionGeometry;
using diffllama::AttentionInput;
using diffllama::AttentionScratch;
using diffllama::CacheType;
using diffllama::Parallel;
using diffllama::ProductType;
using diffllama::SequenceCache;

constexpr std::int64_t kHeadDim = 64;
constexpr std::int64_t kKeyHeads = 8;
constexpr std::int64_t kQueryHeads = 16;

AttentionGeometry geometry_of(std::int64_t maps) {
  return AttentionGeometry::of_halves(maps, kKeyHeads / maps, kQueryHeads / kKeyHeads, kHeadDim);
}

std::vector<float> random_values(std::int64_t count) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

/// `tokens` new tokens behind `depth` others, in each of `layers` layers.
class Step {
 public:
  Step(std::int64_t maps, std::int64_t layers, std::int64_t depth, std::int64_t tokens,
       CacheType type, const Parallel& parallel)
      : geometry_(geometry_of(maps)),
        layers_(layers),
        tokens_(tokens),
        parallel_(parallel),
        cache_(geometry_, layers, ProductType::bfloat16, type),
        values_(random_values((depth + tokens) * kKeyHeads * kHeadDim)),
        queries_(random_values(tokens * kQueryHeads * kHeadDim)),
        output_(queries_.size()) {
    slots_.resize(static_cast<std::size_t>(depth + tokens));
    std::iota(slots_.begin(), slots_.end(), std::int64_t{0});
    cache_.reserve(depth + tokens);
    for (std::int64_t layer = 0; layer < layers; ++layer) write(layer, 0);
    cache_.advance(depth, depth);  // the new tokens' keys are written, and not counted yet
    for (std::int64_t i = 1; i <= tokens; ++i) limits_.push_back(depth + i);
  }

  void write(std::int64_t layer, std::int64_t first) {
    const float* const values = values_.data() + first * kKeyHeads * kHeadDim;
    cache_.write(layer, std::span(slots_).subspan(static_cast<std::size_t>(first)), values, values,
                 parallel_);
  }

  void attend() {
    const std::vector<AttentionInput> inputs = {{.cache = &cache_,
                                                 .tokens = tokens_,
                                                 .queries = queries_.data(),
                                                 .key_limit = limits_.data(),
                                                 .output = output_.data(),
                                                 .maps = {}}};
    for (std::int64_t layer = 0; layer < layers_; ++layer) {
      attention(geometry_,
                {.lambda = 0.4F, .norm = geometry_.maps == 2, .output_scale = 0.5F, .eps = 1e-5F},
                layer, inputs, scratch_, parallel_);
    }
    benchmark::DoNotOptimize(output_.data());
  }

  /// Each visible key costs d multiplications for its score and as many for its value.
  double flop() const {
    const auto keys =
        static_cast<double>(std::accumulate(limits_.begin(), limits_.end(), std::int64_t{0}));
    return keys * 4 * kQueryHeads * kHeadDim * static_cast<double>(layers_);
  }
  double bytes() const {
    return static_cast<double>(cache_.layout().bytes_per_key()) *
           static_cast<double>(limits_.back());
  }

 private:
  AttentionGeometry geometry_;
  std::int64_t layers_, tokens_;
  const Parallel& parallel_;
  SequenceCache cache_;
  std::vector<float> values_, queries_, output_;
  std::vector<std::int64_t> slots_, limits_;
  AttentionScratch scratch_;
};

void report(benchmark::State& state, const char* unit, double amount) {
  state.counters[unit] = benchmark::Counter(amount * 1e-9 * static_cast<double>(state.iterations()),
                                            benchmark::Counter::kIsRate);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  if (argc > 2 || threads < 1) {
    std::fprintf(stderr, "usage: attention_benchmark [threads], positive\n");
    return 2;
  }
  const Parallel parallel(threads);
  benchmark::AddCustomContext("isa", std::string(isa_name(diffllama::active_isa())));
  struct Kind {
    const char* name;
    std::int64_t maps;
    CacheType type;
  };
  static constexpr Kind kKinds[] = {{"diffllama_bf16", 2, CacheType::bf16},
                                    {"llama_bf16", 1, CacheType::bf16},
                                    {"diffllama_q8_0", 2, CacheType::q8_0},
                                    {"diffllama_f32", 2, CacheType::f32}};
  constexpr std::int64_t kChunk = 512;
  constexpr std::int64_t kPromptLayers = 4;  // blocks of 2 MiB, in huge pages
  constexpr std::int64_t kLayers = 24;       // more than the caches hold
  for (const Kind& kind : kKinds) {
    const std::string name = kind.name;
    benchmark::RegisterBenchmark((name + "/prompt").c_str(),
                                 [&](benchmark::State& state) {
                                   Step step(kind.maps, kPromptLayers, state.range(0), kChunk,
                                             kind.type, parallel);
                                   for (auto _ : state) step.attend();
                                   report(state, "GFLOP/s", step.flop());
                                 })
        ->Arg(0)
        ->Arg(3584)
        ->Arg(15872)
        ->MeasureProcessCPUTime()
        ->UseRealTime();
    benchmark::RegisterBenchmark((name + "/decode").c_str(),
                                 [&](benchmark::State& state) {
                                   Step step(kind.maps, kLayers, state.range(0), 1, kind.type,
                                             parallel);
                                   for (auto _ : state) step.attend();
                                   report(state, "GB/s", step.bytes());
                                 })
        ->Arg(48)
        ->Arg(4096)
        ->MeasureProcessCPUTime()
        ->UseRealTime();
    benchmark::RegisterBenchmark((name + "/write").c_str(),
                                 [&](benchmark::State& state) {
                                   Step step(kind.maps, 1, 0, kChunk, kind.type, parallel);
                                   for (auto _ : state) step.write(0, 0);
                                 })
        ->MeasureProcessCPUTime()
        ->UseRealTime();
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
