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
#include "kernels/quantized_panels.h"
#include "kernels/reference/panel_product.h"

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

/// Whether y is x w^T; `precision`: how far x may be off, of its largest value.
bool valid(const std::vector<float>& x, const PackedMatrix& w, const std::vector<float>& y,
           std::int64_t m, double precision) {
  for (std::int64_t j = 0; j < w.n(); j += w.n() / 50 + 1) {
    for (std::int64_t i = 0; i < m; ++i) {
      double sum = 0;
      double bound = 0;
      for (std::int64_t t = 0; t < kDepth; ++t) {
        const double weight =
            diffllama::reference::panel_value(w.format(), w.panels(), w.panel_stride(), j, t);
        sum += double{x[static_cast<std::size_t>(i * kDepth + t)]} * weight;
        bound += std::abs(weight) * 2.0;
      }
      const double difference = std::abs(double{y[static_cast<std::size_t>(i * w.n() + j)]} - sum);
      if (!(difference <= precision * bound)) return false;
    }
  }
  return true;
}

struct Kind {
  const char* name;
  PanelFormat format;
  ProductType type;
};

/// One row of blocks again and again, whose scales are 2^-6 where the format has them in float16.
PackedMatrix make_blocks(PanelFormat format, std::int64_t bytes, const Parallel& parallel) {
  constexpr std::uint16_t kScale = 0x2400;
  const std::size_t size = diffllama::file_block_bytes(format);
  const std::int64_t blocks = kDepth / diffllama::quant_layout(format).block_depth();
  std::vector<std::byte> row(size * static_cast<std::size_t>(blocks));
  for (std::size_t at = 0; at < row.size(); ++at) row[at] = static_cast<std::byte>(at * 37 >> 2);
  for (std::size_t block = 0; block < row.size(); block += size) {
    const std::size_t first = format == PanelFormat::q6_k ? size - 2 : 0;
    const auto halves = static_cast<std::size_t>(diffllama::quant_layout(format).halves);
    for (std::size_t half = 0; half < halves; ++half) {
      std::memcpy(&row[block + first + 2 * half], &kScale, sizeof(kScale));
    }
  }
  return PackedMatrix::of_blocks(
      format, bytes / static_cast<std::int64_t>(row.size()), kDepth,
      [&](std::int64_t) { return std::span<const std::byte>(row); }, parallel);
}

void decode(benchmark::State& state, const Kind& kind, std::int64_t bytes,
            const Parallel& parallel) {
  const std::int64_t m = state.range(0);
  const bool quantized = diffllama::is_quantized(kind.format);
  const PackedMatrix weights = quantized ? make_blocks(kind.format, bytes, parallel)
                                         : make_weights(kind.format, bytes, parallel);
  std::vector<float> x(static_cast<std::size_t>(m * kDepth));
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t t = 0; t < kDepth; ++t) {
      x[static_cast<std::size_t>(i * kDepth + t)] = value(i, t);
    }
  }
  std::vector<float> y(static_cast<std::size_t>(m * weights.n()));
  ActivationRows rows;
  const auto run = [&] {
    rows.assign(x.data(), m, kDepth, kDepth, kind.type);
    diffllama::matmul(rows, {{&weights, nullptr, y.data(), weights.n()}}, parallel);
  };
  run();
  if (!valid(x, weights, y, m, quantized ? 1.0 / 254 : 0.0)) {
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
      {"bfloat16", PanelFormat::bfloat16, ProductType::bfloat16},
      {"q8_0", PanelFormat::q8_0, ProductType::bfloat16},
      {"q4_0", PanelFormat::q4_0, ProductType::bfloat16},
      {"q4_1", PanelFormat::q4_1, ProductType::bfloat16},
      {"q5_0", PanelFormat::q5_0, ProductType::bfloat16},
      {"q5_1", PanelFormat::q5_1, ProductType::bfloat16},
      {"q4_k", PanelFormat::q4_k, ProductType::bfloat16},
      {"q5_k", PanelFormat::q5_k, ProductType::bfloat16},
      {"q6_k", PanelFormat::q6_k, ProductType::bfloat16}};
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
