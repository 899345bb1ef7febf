// The packed product beside oneDNN's matmul, in one run: matmul_benchmark [M N K [threads]], by
// default 512 2816 1024 with 2 threads. DIFFLLAMA_ISA limits ours; oneDNN is then limited alike,
// so avx512 is compared with oneDNN on AVX-512 with bf16.
#include <benchmark/benchmark.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <oneapi/dnnl/dnnl.hpp>
#include <random>
#include <string>
#include <vector>

#include "contest.h"
#include "kernels/cpu/onednn_gemm.h"
#include "kernels/isa.h"
#include "kernels/matmul.h"
#include "tensor/half.h"

namespace {

using diffllama::ActivationRows;
using diffllama::PackedMatrix;
using diffllama::PanelFormat;
using diffllama::Parallel;
using diffllama::ProductType;

struct Sizes {
  std::int64_t m = 512, n = 2816, k = 1024;
  int threads = 2;
  double gigaflops() const { return 2e-9 * static_cast<double>(m * n * k); }
};

/// Both products of the same x [m, k] and W [n, k], in one type.
class Contest {
 public:
  Contest(const Sizes& sizes, ProductType type)
      : sizes_(sizes),
        type_(type),
        parallel_(sizes.threads),
        x_(values(sizes.m * sizes.k, 1)),
        w_(values(sizes.n * sizes.k, 2)),
        ours_(static_cast<std::size_t>(sizes.m * sizes.n)),
        theirs_(ours_.size()) {
    const PanelFormat format =
        type == ProductType::float32 ? PanelFormat::float32 : PanelFormat::bfloat16;
    packed_ = PackedMatrix(
        format, sizes.n, sizes.k,
        [&](std::int64_t row, std::span<float> out) {
          std::copy_n(w_.begin() + row * sizes.k, sizes.k, out.begin());
        },
        parallel_);
    rows_.assign(x_.data(), sizes.m, sizes.k, sizes.k, type);
    try {
      prepare_onednn();
    } catch (const dnnl::error& error) {
      has_onednn_ = false;  // it has no bfloat16 below AVX-512
      std::fprintf(stderr, "oneDNN: no such product on this ISA: %s\n", error.what());
    }
  }

  void run_ours() {
    diffllama::matmul(rows_, {{&packed_, nullptr, ours_.data(), sizes_.n}}, parallel_);
  }
  void run_onednn() {
    product_.execute(
        stream_, {{DNNL_ARG_SRC, source_}, {DNNL_ARG_WEIGHTS, weights_}, {DNNL_ARG_DST, target_}});
    stream_.wait();
  }

  bool has_onednn() const { return has_onednn_; }

  /// Compares both with a float64 product at 200 places.
  bool valid() {
    run_ours();
    theirs_ = ours_;
    if (has_onednn_) run_onednn();
    std::mt19937 random(3);
    for (int trial = 0; trial < 200; ++trial) {
      const auto i = static_cast<std::int64_t>(random() % static_cast<unsigned>(sizes_.m));
      const auto j = static_cast<std::int64_t>(random() % static_cast<unsigned>(sizes_.n));
      double sum = 0;
      double magnitude = 0;
      for (std::int64_t t = 0; t < sizes_.k; ++t) {
        const double product = double{x_[static_cast<std::size_t>(i * sizes_.k + t)]} *
                               double{w_[static_cast<std::size_t>(j * sizes_.k + t)]};
        sum += product;
        magnitude += std::abs(product);
      }
      const double tolerance = 2.1 * static_cast<double>(sizes_.k) * 0x1p-24 * magnitude;
      const auto at = static_cast<std::size_t>(i * sizes_.n + j);
      for (const double got : {double{ours_[at]}, double{theirs_[at]}}) {
        if (!(std::abs(got - sum) <= tolerance)) {
          std::fprintf(stderr, "wrong at %td, %td: %g for %g\n", i, j, got, sum);
          return false;
        }
      }
    }
    return true;
  }
  double gigaflops() const { return sizes_.gigaflops(); }

 private:
  // Values that bfloat16 holds exactly, so both types multiply the same numbers.
  static std::vector<float> values(std::int64_t count, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> x(static_cast<std::size_t>(count));
    for (float& value : x) {
      value = diffllama::bfloat16_to_float(diffllama::float_to_bfloat16(normal(random)));
    }
    return x;
  }

  void prepare_onednn() {
    using Memory = dnnl::memory;
    const auto type =
        type_ == ProductType::float32 ? Memory::data_type::f32 : Memory::data_type::bf16;
    const auto f32 = Memory::data_type::f32;
    const Memory::desc any_weights({sizes_.k, sizes_.n}, type, Memory::format_tag::any);
    const Memory::desc source({sizes_.m, sizes_.k}, type, Memory::format_tag::ab);
    const Memory::desc target({sizes_.m, sizes_.n}, f32, Memory::format_tag::ab);
    const dnnl::matmul::primitive_desc chosen({source, any_weights, target}, engine_);
    product_ = dnnl::matmul(chosen);
    source_ = Memory(source, engine_);
    target_ = Memory(target, engine_, theirs_.data());
    weights_ = Memory(chosen.weights_desc(), engine_);
    // W is [n, k] row-major, which is [k, n] with the axes exchanged.
    reorder(Memory({{sizes_.k, sizes_.n}, f32, Memory::format_tag::ba}, engine_, w_.data()),
            weights_);
    reorder(Memory({{sizes_.m, sizes_.k}, f32, Memory::format_tag::ab}, engine_, x_.data()),
            source_);
  }
  void reorder(dnnl::memory from, dnnl::memory& to) {
    dnnl::reorder(from, to).execute(stream_, from, to);
    stream_.wait();
  }

  Sizes sizes_;
  ProductType type_;
  bool has_onednn_ = true;
  Parallel parallel_;
  std::vector<float> x_, w_, ours_, theirs_;
  PackedMatrix packed_;
  ActivationRows rows_;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  dnnl::matmul product_;
  dnnl::memory source_, weights_, target_;
};

void report_rate(benchmark::State& state, double gigaflops) {
  state.counters["GFLOP/s"] = benchmark::Counter(
      gigaflops * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

void ours(benchmark::State& state, Contest* contest) {
  for (auto _ : state) contest->run_ours();
  report_rate(state, contest->gigaflops());
}

void onednn(benchmark::State& state, Contest* contest) {
  for (auto _ : state) contest->run_onednn();
  report_rate(state, contest->gigaflops());
}

void compare(benchmark::State& state, Contest* contest) { share(state, *contest); }

int run(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  Sizes sizes;
  std::int64_t* const positional[] = {&sizes.m, &sizes.n, &sizes.k};
  for (int i = 1; i < argc && i <= 3; ++i) *positional[i - 1] = std::atoll(argv[i]);
  if (argc > 4) sizes.threads = std::atoi(argv[4]);
  if (argc > 5 || std::min({sizes.m, sizes.n, sizes.k, std::int64_t{sizes.threads}}) < 1) {
    std::fprintf(stderr, "usage: matmul_benchmark [M N K [threads]], all of them positive\n");
    return 2;
  }
  omp_set_num_threads(sizes.threads);
  diffllama::limit_onednn(diffllama::active_isa());
  benchmark::AddCustomContext("isa", std::string(isa_name(diffllama::active_isa())));
  benchmark::AddCustomContext("M N K threads",
                              std::to_string(sizes.m) + ' ' + std::to_string(sizes.n) + ' ' +
                                  std::to_string(sizes.k) + ' ' + std::to_string(sizes.threads));
  Contest bf16(sizes, ProductType::bfloat16);
  Contest f32(sizes, ProductType::float32);
  if (!bf16.valid() || !f32.valid()) return 1;
  for (auto* contest : {&bf16, &f32}) {
    const std::string type = contest == &bf16 ? "bf16" : "f32";
    const auto add = [&](const char* name, void (*function)(benchmark::State&, Contest*)) {
      benchmark::RegisterBenchmark((type + '/' + name).c_str(), function, contest)->UseRealTime();
    };
    add("ours", ours);
    if (!contest->has_onednn()) continue;
    add("onednn", onednn);
    benchmark::RegisterBenchmark((type + "/share").c_str(), compare, contest)
        ->UseRealTime()
        ->Iterations(100);
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
