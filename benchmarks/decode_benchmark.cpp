// Decoding is streaming weights: products of few rows with a matrix that no cache holds, in bytes
// of weights per second, beside plain reading of the same bytes. decode_benchmark [threads [MiB]],
// by default 2 threads and 1024 MiB.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/isa.h"
#include "kernels/matmul.h"

namespace {

using diffllama::ActivationRows;
using diffllama::PackedMatrix;
using diffllama::PanelFormat;
using diffllama::Parallel;
using diffllama::ProductType;

constexpr std::int64_t kDepth = 2048;

/// Small whole numbers, so that every order of summation gives the same exact result.
float value(std::int64_t row, std::int64_t t) { return static_cast<float>((row * 7 + t) % 5 - 2); }

PackedMatrix make_weights(PanelFormat format, std::int64_t bytes, const Parallel& parallel) {
  const auto row_bytes = static_cast<std::int64_t>(diffllama::panel_bytes(format, kDepth)) / 32;
  const auto read_row = [](std::int64_t row, std::span<float> out) {
    for (std::int64_t t = 0; t < kDepth; ++t) out[static_cast<std::size_t>(t)] = value(row, t);
  };
  return {format, std::max<std::int64_t>(32, bytes / row_bytes), kDepth, read_row, parallel};
}

void report_rate(benchmark::State& state, std::size_t bytes) {
  state.counters["GB/s"] = benchmark::Counter(
      static_cast<double>(bytes) * 1e-9 * static_cast<double>(state.iterations()),
      benchmark::Counter::kIsRate);
}

/// The bytes of the packed weights, added up as words in eight chains.
void read_plain(benchmark::State& state, PanelFormat format, std::int64_t bytes,
                const Parallel& parallel) {
  const PackedMatrix weights = make_weights(format, bytes, parallel);
  constexpr std::int64_t kPiece = 1 << 20;
  const auto pieces = static_cast<std::int64_t>(weights.bytes()) / kPiece;
  std::vector<std::uint64_t> sums(static_cast<std::size_t>(pieces));
  for (auto _ : state) {
    parallel.run(pieces, [&](std::int64_t piece, int /*worker*/) {
      std::uint64_t chains[32] = {};
      const std::byte* data = weights.panels() + piece * kPiece;
      for (std::int64_t at = 0; at < kPiece; at += 256) {
        std::uint64_t words[32];
        std::memcpy(words, data + at, sizeof(words));
        for (int i = 0; i < 32; ++i) chains[i] += words[i];
      }
      for (const std::uint64_t chain : chains) sums[static_cast<std::size_t>(piece)] += chain;
    });
    benchmark::DoNotOptimize(sums.data());
  }
  report_rate(state, static_cast<std::size_t>(pieces * kPiece));
}

bool valid(const std::vector<float>& y, std::int64_t m, std::int64_t n) {
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; j += n / 50 + 1) {
      float sum = 0;
      for (std::int64_t t = 0; t < kDepth; ++t) sum += value(i, t) * value(j, t);
      if (!(y[static_cast<std::size_t>(i * n + j)] == sum)) return false;
    }
  }
  return true;
}

struct Kind {
  const char* name;
  PanelFormat format;
  ProductType type;
};

void decode(benchmark::State& state, const Kind& kind, std::int64_t bytes,
            const Parallel& parallel) {
  const std::int64_t m = state.range(0);
  const PackedMatrix weights = make_weights(kind.format, bytes, parallel);
  std::vector<float> x(static_cast<std::size_t>(m * kDepth));
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t t = 0; t < kDepth; ++t) {
      x[static_cast<std::size_t>(i * kDepth + t)] = value(i, t);
    }
  }
  ActivationRows rows;
  rows.assign(x.data(), m, kDepth, kDepth, kind.type, parallel);
  std::vector<float> y(static_cast<std::size_t>(m * weights.n()));
  const auto run = [&] {
    diffllama::matmul(rows, weights, nullptr, y.data(), weights.n(), parallel);
  };
  run();
  if (!valid(y, m, weights.n())) {
    state.SkipWithError("wrong result");
    return;
  }
  for (auto _ : state) run();
  report_rate(state, weights.bytes());
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const int threads = argc > 1 ? std::atoi(argv[1]) : 2;
  const std::int64_t mebibytes = argc > 2 ? std::atoll(argv[2]) : 1024;
  if (argc > 3 || threads < 1 || mebibytes < 1) {
    std::fprintf(stderr, "usage: decode_benchmark [threads [MiB]], both positive\n");
    return 2;
  }
  const Parallel parallel(threads);
  const std::int64_t bytes = mebibytes << 20;
  benchmark::AddCustomContext("isa", std::string(isa_name(diffllama::active_isa())));
  benchmark::RegisterBenchmark("read", [&](benchmark::State& state) {
    read_plain(state, PanelFormat::float32, bytes, parallel);
  })->UseRealTime();
  static constexpr Kind kKinds[] = {
      {"float32", PanelFormat::float32, ProductType::float32},
      {"float16_in_float32", PanelFormat::float16, ProductType::float32},
      {"bfloat16_in_float32", PanelFormat::bfloat16, ProductType::float32},
      {"bfloat16", PanelFormat::bfloat16, ProductType::bfloat16}};
  for (const Kind& kind : kKinds) {
    benchmark::RegisterBenchmark(
        kind.name, [&](benchmark::State& state) { decode(state, kind, bytes, parallel); })
        ->Arg(1)
        ->Arg(4)
        ->Arg(16)
        ->UseRealTime();
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
