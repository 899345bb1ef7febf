#include "kernels/gemm.h"

#include <gtest/gtest.h>
#include <omp.h>
#include <pthread.h>
#include <sys/time.h>

#include <cmath>
#include <csignal>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "diffllama/error.h"
#include "kernels/cpu/onednn_gemm.h"
#include "kernels/reference/gemm.h"
#include "tensor/half.h"

namespace diffllama {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kGuard = 77.0F;

struct Sizes {
  std::int64_t m, n, k;
};

/// A product with rows further apart than they are long, at addresses that no vector likes, and C
/// between guards.
class Case {
 public:
  Case(ProductType type, const Sizes& sizes, int transposes, bool accumulate, unsigned seed)
      : type_(type), random_(seed) {
    args_ = {.m = sizes.m, .n = sizes.n, .k = sizes.k};
    args_.transpose_a = (transposes & 1) != 0;
    args_.transpose_b = (transposes & 2) != 0;
    args_.accumulate = accumulate;
    args_.lda = (args_.transpose_a ? sizes.m : sizes.k) + 3;
    args_.ldb = (args_.transpose_b ? sizes.k : sizes.n) + 5;
    args_.ldc = sizes.n + 7;
    a_ = values((args_.transpose_a ? sizes.k : sizes.m) * args_.lda);
    b_ = values((args_.transpose_b ? sizes.n : sizes.k) * args_.ldb);
    c_ = values(sizes.m * args_.ldc);
    for (std::int64_t i = 0; i < sizes.m; ++i) {
      for (std::int64_t j = sizes.n; j < args_.ldc; ++j) c_[at(i, j)] = kGuard;
      // What C held before counts only where it is added to.
      for (std::int64_t j = 0; !accumulate && j < sizes.n; ++j) c_[at(i, j)] = kNan;
    }
    c_.insert(c_.begin(), kGuard);
    c_.insert(c_.end(), 64, kGuard);
    before_ = c_;
    point();
  }

  GemmArgs& args() { return args_; }
  float& a(std::int64_t i, std::int64_t t) {
    return a_[static_cast<std::size_t>(args_.transpose_a ? t * args_.lda + i : i * args_.lda + t)];
  }
  float& b(std::int64_t t, std::int64_t j) {
    return b_[static_cast<std::size_t>(args_.transpose_b ? j * args_.ldb + t : t * args_.ldb + j)];
  }
  /// C after `run`, which starts from the same C each time.
  std::vector<float> product(const std::function<void(const GemmArgs&)>& run) {
    c_ = before_;
    point();
    run(args_);
    return c_;
  }
  std::vector<float> product() {
    return product([&](const GemmArgs& args) { gemm(type_, args); });
  }
  float element(const std::vector<float>& c, std::int64_t i, std::int64_t j) const {
    return c[at(i, j) + 1];
  }

  /// Every element within rounding of float64, every guard in its place. A sum of k products in any
  /// order, each product rounded or not, and the addition to C: at most k + 1 roundings on the way
  /// of each term.
  void expect_near_float64(const std::vector<float>& c) {
    c_ = before_;
    point();
    const reference::GemmSums expected = reference::gemm(type_, args_);
    const double roundings = static_cast<double>(args_.k + 1) * 0x1p-24;
    const double relative = roundings / (1 - roundings);
    ASSERT_EQ(c[0], kGuard);
    for (std::size_t i = before_.size() - 64; i < c.size(); ++i) ASSERT_EQ(c[i], kGuard);
    std::size_t next = 0;
    for (std::int64_t i = 0; i < args_.m; ++i) {
      for (std::int64_t j = 0; j < args_.n; ++j, ++next) {
        const double got = element(c, i, j);
        ASSERT_TRUE(std::abs(got - expected.sums[next]) <= relative * expected.magnitudes[next])
            << i << ", " << j << ": " << got << " for " << expected.sums[next];
      }
      for (std::int64_t j = args_.n; j < args_.ldc; ++j) ASSERT_EQ(element(c, i, j), kGuard);
    }
  }

 private:
  std::size_t at(std::int64_t i, std::int64_t j) const {
    return static_cast<std::size_t>(i * args_.ldc + j);
  }
  std::vector<float> values(std::int64_t n) {
    std::normal_distribution<float> normal;
    std::vector<float> x(static_cast<std::size_t>(n));
    for (float& value : x) value = normal(random_);
    return x;
  }
  /// Copies A and B, in the product's type, to one element past an aligned address.
  void point() {
    const auto place = [&](const std::vector<float>& x, std::vector<float>& wide,
                           std::vector<std::uint16_t>& narrow) -> const void* {
      wide.assign(1, kGuard);
      narrow.assign(1, 0);
      for (const float value : x) {
        if (type_ == ProductType::float32) {
          wide.push_back(value);
        } else {
          narrow.push_back(float_to_bfloat16(value));
        }
      }
      if (type_ == ProductType::float32) return wide.data() + 1;
      return narrow.data() + 1;
    };
    args_.a = place(a_, wide_a_, narrow_a_);
    args_.b = place(b_, wide_b_, narrow_b_);
    args_.c = c_.data() + 1;
  }

  ProductType type_;
  std::mt19937 random_;
  GemmArgs args_;
  std::vector<float> a_, b_, c_, before_, wide_a_, wide_b_;
  std::vector<std::uint16_t> narrow_a_, narrow_b_;
};

bool same_bits(const std::vector<float>& x, const std::vector<float>& y) {
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
}

std::string name(ProductType type) { return type == ProductType::float32 ? "float32" : "bfloat16"; }

// What a handler reaches. NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables)
std::uintptr_t stack_low = 0;
std::uintptr_t stack_high = 0;
volatile std::sig_atomic_t on_stack = 0;
volatile std::sig_atomic_t elsewhere = 0;
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)

extern "C" void note_frame(int /*signal*/) {
  const auto frame = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  if (frame >= stack_low && frame < stack_high) {
    on_stack = on_stack + 1;
  } else {
    elsewhere = elsewhere + 1;
  }
}

/// While it lives, interrupts the process, whose only thread this is, every 50 us, and counts where
/// the handler's frame lay: on the thread's stack or elsewhere.
class Interruptions {
 public:
  Interruptions() : handler_before_(std::signal(SIGALRM, note_frame)) {
    pthread_attr_t attributes;
    void* low = nullptr;
    std::size_t size = 0;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &low, &size);
    pthread_attr_destroy(&attributes);
    stack_low = reinterpret_cast<std::uintptr_t>(low);
    stack_high = stack_low + size;
    on_stack = 0;
    elsewhere = 0;
    set_interval(50);
  }
  ~Interruptions() {
    set_interval(0);
    std::signal(SIGALRM, handler_before_);
  }
  Interruptions(const Interruptions&) = delete;
  Interruptions& operator=(const Interruptions&) = delete;

 private:
  static void set_interval(int microseconds) {
    const timeval time = {.tv_sec = 0, .tv_usec = microseconds};
    const itimerval timer = {.it_interval = time, .it_value = time};
    setitimer(ITIMER_REAL, &timer, nullptr);
  }

  void (*handler_before_)(int);
};

class Gemm : public testing::TestWithParam<ProductType> {
 protected:
  Gemm() : seed_(std::random_device{}()) {}
  /// Every transposition, with and without what C holds.
  void for_each_case(std::initializer_list<Sizes> all_sizes,
                     const std::function<void(Case&)>& check) const {
    for (const Sizes& sizes : all_sizes) {
      for (int transposes = 0; transposes < 4; ++transposes) {
        for (const bool accumulate : {false, true}) {
          SCOPED_TRACE(testing::Message()
                       << sizes.m << " x " << sizes.n << " x " << sizes.k << ", transposes "
                       << transposes << ", accumulate " << accumulate << ", seed " << seed_);
          Case product(GetParam(), sizes, transposes, accumulate, seed_);
          check(product);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
  unsigned seed_;
};

TEST_P(Gemm, IsNearFloat64) {
  for_each_case({{1, 1, 1},
                 {1, 17, 5},
                 {19, 1, 33},
                 {2, 3, 300},
                 {8, 129, 8},
                 {48, 64, 256},
                 {33, 47, 1},
                 {65, 67, 129},
                 {130, 50, 1030},
                 {7, 1100, 40},
                 {600, 9, 20},
                 {30, 507, 1030},  // rows of B that share cache sets
                 {9, 1019, 70}},
                [](Case& product) { product.expect_near_float64(product.product()); });
}

TEST_P(Gemm, EmptySizes) {
  for_each_case({{0, 5, 3}, {5, 0, 3}, {0, 0, 0}, {4, 5, 0}}, [](Case& product) {
    product.expect_near_float64(product.product());  // k = 0: zeros, or C untouched
  });
  gemm(GetParam(), {});
}

TEST_P(Gemm, ThreadsDoNotChangeBits) {
  // Many tiles of one product, cut down and across, and a single one.
  for_each_case({{1040, 100, 700}, {70, 2100, 300}, {270, 530, 400}, {5, 5, 5}},
                [&](Case& product) {
                  const std::vector<float> expected = product.product();
                  for (const int threads : {1, 2, 3}) {
                    SCOPED_TRACE("threads " + std::to_string(threads));
                    const Parallel parallel(threads);
                    ASSERT_TRUE(same_bits(expected, product.product([&](const GemmArgs& args) {
                      gemm(GetParam(), args, parallel);
                    })));
                  }
                });
}

TEST_P(Gemm, NestedProductsHaveTheSameBits) {
  const Parallel parallel(3);
  for_each_case({{48, 256, 64}, {530, 270, 300}}, [&](Case& product) {
    const std::vector<float> expected = product.product();
    std::vector<std::vector<float>> got(7, expected);
    for (std::vector<float>& c : got) {
      c = product.product([](const GemmArgs&) {});  // C before
    }
    parallel.run(std::ssize(got), [&](std::int64_t task, int) {
      GemmArgs args = product.args();
      args.c = got[static_cast<std::size_t>(task)].data() + 1;
      if (task % 2 == 0) {
        gemm(GetParam(), args, parallel);
      } else {
        gemm(GetParam(), args);
      }
    });
    for (const std::vector<float>& c : got) ASSERT_TRUE(same_bits(c, expected));
  });
}

TEST_P(Gemm, SpecialValuesReachTheirRowAndColumnOnly) {
  for_each_case({{37, 45, 50}, {130, 140, 20}}, [](Case& product) {
    const GemmArgs& args = product.args();
    product.a(3, 2) = kInfinity;
    product.a(5, 7) = kNan;
    product.b(1, 4) = kNan;
    product.b(0, 6) = -kInfinity;
    for (std::int64_t j = 0; j < args.n; ++j) product.b(2, j) = 1.0F;
    for (std::int64_t i = 0; i < args.m; ++i) product.a(i, 0) = 2.0F;
    const std::vector<float> c = product.product();
    for (std::int64_t i = 0; i < args.m; ++i) {
      for (std::int64_t j = 0; j < args.n; ++j) {
        const float got = product.element(c, i, j);
        if (i == 5 || j == 4 || (i == 3 && j == 6)) {
          ASSERT_TRUE(std::isnan(got)) << i << ", " << j << ": " << got;
        } else if (i == 3 || j == 6) {
          ASSERT_EQ(got, i == 3 ? kInfinity : -kInfinity) << i << ", " << j;
        } else {
          ASSERT_TRUE(std::isfinite(got)) << i << ", " << j << ": " << got;
        }
      }
    }
  });
}

TEST_P(Gemm, KeepsTheCallersOpenMpThreads) {
  Case product(GetParam(), {20, 30, 40}, 0, false, seed_);
  std::thread([&] {
    omp_set_num_threads(5);
    product.product();
    EXPECT_EQ(omp_get_max_threads(), 5);
  }).join();
}

// A signal's frame goes where the stack pointer points: dnnl_sgemm has it on the heap.
TEST_P(Gemm, StaysOnItsStack) {
  constexpr int kEnough = 20;
  for_each_case({{64, 16, 4096}, {100, 70, 9000}}, [](Case& product) {
    const Interruptions interruptions;
    while (on_stack + elsewhere < kEnough) product.product();
    EXPECT_EQ(elsewhere, 0);
  });
}

TEST_P(Gemm, SaysWhatDoesNotFit) {
  Case product(GetParam(), {20, 30, 40}, 0, false, seed_);
  const auto message = [&](const GemmArgs& args) -> std::string {
    try {
      gemm(GetParam(), args);
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "nothing";
  };
  GemmArgs args = product.args();
  args.lda = 39;
  EXPECT_EQ(message(args), "[gemm] expected lda of at least 40, got 39");
  args = product.args();
  args.transpose_b = true;
  args.ldb = 39;
  EXPECT_EQ(message(args), "[gemm] expected ldb of at least 40, got 39");
  args = product.args();
  args.ldc = 29;
  EXPECT_EQ(message(args), "[gemm] expected ldc of at least 30, got 29");
  args.m = -1;
  EXPECT_EQ(message(args), "[gemm] expected m of at least 0, got -1");
  EXPECT_THROW(gemm(ProductType::int8, product.args()), InvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(Types, Gemm, testing::Values(ProductType::float32, ProductType::bfloat16),
                         [](const auto& type) { return name(type.param); });

// What bfloat16 goes through where oneDNN multiplies it; in float32 every machine has it. Also more
// shapes than a thread keeps primitives of.
TEST(OneDnnMatmul, IsNearFloat64) {
  const unsigned seed = std::random_device{}();
  const OneDnnInThisThread guard;
  for (std::int64_t n = 1; n < 80; ++n) {
    for (int transposes = 0; transposes < 4; ++transposes) {
      for (const bool accumulate : {false, true}) {
        SCOPED_TRACE(testing::Message() << "n " << n << ", transposes " << transposes
                                        << ", accumulate " << accumulate << ", seed " << seed);
        Case product(ProductType::float32, {9 + n % 3, n, 2 * n + 1}, transposes, accumulate, seed);
        const auto run = [&](const GemmArgs& args) {
          ASSERT_TRUE(onednn_matmul_tile(ProductType::float32, args));
        };
        const std::vector<float> c = product.product(run);
        product.expect_near_float64(c);
        if (HasFatalFailure()) return;
        ASSERT_TRUE(same_bits(c, product.product(run)));  // a primitive that was kept
      }
    }
  }
}

// And what it goes through elsewhere, on every machine.
TEST(OneDnnWidened, IsNearFloat64) {
  const unsigned seed = std::random_device{}();
  const OneDnnInThisThread guard;
  for (int transposes = 0; transposes < 4; ++transposes) {
    for (const bool accumulate : {false, true}) {
      SCOPED_TRACE(testing::Message() << "transposes " << transposes << ", accumulate "
                                      << accumulate << ", seed " << seed);
      Case product(ProductType::bfloat16, {41, 83, 2060}, transposes, accumulate, seed);
      product.expect_near_float64(product.product(onednn_widened_tile));
    }
  }
}

}  // namespace
}  // namespace diffllama
