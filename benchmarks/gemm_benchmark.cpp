// gemm beside one call of oneDNN that uses all threads, in one run: gemm_benchmark [threads], by
// default 2. The products of training: x W^T of a forward step, dy W, and dy^T x, for projections
// of a small and a large model and for its vocabulary; then small ones, as attention's tasks have
// them, by one thread. DIFFLLAMA_ISA limits both.
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
#include "kernels/gemm.h"
#include "kernels/isa.h"
#include "tensor/half.h"

namespace {

using diffllama::GemmArgs;
using diffllama::Parallel;
using diffllama::ProductType;

struct Shape {
  const char* what;
  std::int64_t m, n, k;
  bool transpose_a, transpose_b;
  int threads;  // 0: those of the command line
};

constexpr Shape kShapes[] = {
    {"x W^T", 2048, 1024, 256, false, true, 0},   {"dy W", 2048, 256, 1024, false, false, 0},
    {"dy^T x", 1024, 256, 2048, true, false, 0},  {"x W^T", 512, 2816, 1024, false, true, 0},
    {"dy W", 512, 1024, 2816, false, false, 0},   {"dy^T x", 2816, 1024, 512, true, false, 0},
    {"x W^T", 1024, 4096, 4096, false, true, 0},  {"dy^T x", 4096, 4096, 1024, true, false, 0},
    {"x W^T", 512, 32000, 1024, false, true, 0},  {"dy W", 512, 1024, 32000, false, false, 0},
    {"dy^T x", 32000, 1024, 512, true, false, 0}, {"q k^T", 48, 256, 64, false, true, 1},
    {"P v", 48, 128, 256, false, false, 1},       {"P^T dO", 256, 128, 48, true, false, 1},
};

/// Both products of the same values.
class Contest {
 public:
  Contest(const Shape& shape, ProductType type, int threads)
      : type_(type), threads_(shape.threads > 0 ? shape.threads : threads), parallel_(threads_) {
    const auto fill = [&](std::int64_t count, std::vector<float>& wide,
                          std::vector<std::uint16_t>& narrow) -> const void* {
      std::mt19937 random(static_cast<unsigned>(count));
      std::uniform_real_distribution<float> uniform(-1.0F, 1.0F);
      for (std::int64_t i = 0; i < count; ++i) {
        narrow.push_back(diffllama::float_to_bfloat16(uniform(random)));
        wide.push_back(diffllama::bfloat16_to_float(narrow.back()));
      }
      if (type == ProductType::float32) return wide.data();
      return narrow.data();
    };
    args_ = {.m = shape.m, .n = shape.n, .k = shape.k};
    args_.transpose_a = shape.transpose_a;
    args_.lda = shape.transpose_a ? shape.m : shape.k;
    args_.transpose_b = shape.transpose_b;
    args_.ldb = shape.transpose_b ? shape.k : shape.n;
    args_.ldc = shape.n;
    args_.a = fill(shape.m * shape.k, a_, narrow_a_);
    args_.b = fill(shape.k * shape.n, b_, narrow_b_);
    c_.resize(static_cast<std::size_t>(shape.m * shape.n));
    args_.c = c_.data();
    run_ours();  // first, so that oneDNN is limited to our ISA
    prepare_onednn();
  }

  void run_ours() { diffllama::gemm(type_, args_, parallel_); }
  /// oneDNN's own call for float32, its matmul for bfloat16.
  void run_onednn() {
    if (type_ == ProductType::float32) {
      dnnl_sgemm(args_.transpose_a ? 'T' : 'N', args_.transpose_b ? 'T' : 'N', args_.m, args_.n,
                 args_.k, 1.0F, a_.data(), args_.lda, b_.data(), args_.ldb, 0.0F, c_.data(),
                 args_.ldc);
      return;
    }
    product_.execute(
        stream_, {{DNNL_ARG_SRC, source_}, {DNNL_ARG_WEIGHTS, weights_}, {DNNL_ARG_DST, c_of_}});
    stream_.wait();
  }
  bool has_onednn() const { return has_onednn_; }
  int threads() const { return threads_; }
  double gigaflops() const { return 2e-9 * static_cast<double>(args_.m * args_.n * args_.k); }

  /// Compares both with float64 at 100 places.
  bool valid() {
    std::fill(c_.begin(), c_.end(), NAN);
    run_ours();
    if (!check()) return false;
    if (!has_onednn_) return true;
    std::fill(c_.begin(), c_.end(), NAN);
    omp_set_num_threads(threads_);
    run_onednn();
    return check();
  }

 private:
  bool check() const {
    std::mt19937 random(3);
    for (int trial = 0; trial < 100; ++trial) {
      const auto i = static_cast<std::int64_t>(random() % static_cast<unsigned>(args_.m));
      const auto j = static_cast<std::int64_t>(random() % static_cast<unsigned>(args_.n));
      double sum = 0;
      double magnitude = 0;
      for (std::int64_t t = 0; t < args_.k; ++t) {
        const auto at_a = args_.transpose_a ? t * args_.lda + i : i * args_.lda + t;
        const auto at_b = args_.transpose_b ? j * args_.ldb + t : t * args_.ldb + j;
        const double product =
            double{a_[static_cast<std::size_t>(at_a)]} * double{b_[static_cast<std::size_t>(at_b)]};
        sum += product;
        magnitude += std::abs(product);
      }
      const double got = c_[static_cast<std::size_t>(i * args_.ldc + j)];
      const double tolerance = 1.1 * static_cast<double>(args_.k) * 0x1p-24 * magnitude;
      if (!(std::abs(got - sum) <= tolerance)) {
        std::fprintf(stderr, "wrong at %td, %td: %g for %g\n", i, j, got, sum);
        return false;
      }
    }
    return true;
  }

  void prepare_onednn() {
    if (type_ == ProductType::float32) return;
    using Memory = dnnl::memory;
    const auto strides = [](bool transposed, std::int64_t ld) {
      return transposed ? Memory::dims{1, ld} : Memory::dims{ld, 1};
    };
    const auto bf16 = Memory::data_type::bf16;
    const Memory::desc a({args_.m, args_.k}, bf16, strides(args_.transpose_a, args_.lda));
    const Memory::desc b({args_.k, args_.n}, bf16, strides(args_.transpose_b, args_.ldb));
    const Memory::desc c({args_.m, args_.n}, Memory::data_type::f32, strides(false, args_.ldc));
    omp_set_num_threads(threads_);  // a primitive is made for that many
    try {
      product_ = dnnl::matmul(dnnl::matmul::primitive_desc({a, b, c}, engine_));
      source_ = Memory(a, engine_, narrow_a_.data());
      weights_ = Memory(b, engine_, narrow_b_.data());
      c_of_ = Memory(c, engine_, c_.data());
    } catch (const dnnl::error&) {
      has_onednn_ = false;  // none below AVX-512
    }
  }

  ProductType type_;
  int threads_;
  Parallel parallel_;
  bool has_onednn_ = true;
  GemmArgs args_;
  std::vector<float> a_, b_, c_;
  std::vector<std::uint16_t> narrow_a_, narrow_b_;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  dnnl::matmul product_;
  dnnl::memory source_, weights_, c_of_;
};

void compare(benchmark::State& state, const Shape* shape, ProductType type, int threads) {
  Contest contest(*shape, type, threads);
  if (!contest.valid()) {
    state.SkipWithError("wrong result");
    return;
  }
  omp_set_num_threads(contest.threads());
  share(state, contest);
}

int run(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const int threads = argc > 1 ? std::atoi(argv[1]) : 2;
  if (argc > 2 || threads < 1) {
    std::fprintf(stderr, "usage: gemm_benchmark [threads], at least 1\n");
    return 2;
  }
  benchmark::AddCustomContext("isa", std::string(isa_name(diffllama::active_isa())));
  benchmark::AddCustomContext("threads", std::to_string(threads));
  for (const ProductType type : {ProductType::float32, ProductType::bfloat16}) {
    for (const Shape& shape : kShapes) {
      const std::string name = std::string(type == ProductType::float32 ? "f32/" : "bf16/") +
                               shape.what + "/" + std::to_string(shape.m) + "x" +
                               std::to_string(shape.n) + "x" + std::to_string(shape.k);
      benchmark::RegisterBenchmark(name.c_str(), compare, &shape, type, threads)
          ->UseRealTime()
          ->MinTime(1.0);
    }
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
