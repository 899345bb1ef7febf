#include "kernels/cpu/onednn_gemm.h"

#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <new>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/buffer.h"
#include "diffllama/error.h"
#include "kernels/elementwise.h"
#include "kernels/isa.h"

namespace diffllama {
namespace {

constexpr std::int64_t kDepth = 1024;  // of k in scratch
// Rows of scratch are this much further apart: at a power of two they would share cache sets.
constexpr std::int64_t kPadding = 16;
constexpr std::int64_t kSharingSets = 512;  // float32 values: half a page

/// All but those that a thread's own instructions raise, which cannot wait.
sigset_t signals_of_others() {
  sigset_t signals;
  sigfillset(&signals);
  for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) {
    sigdelset(&signals, own);
  }
  return signals;
}

/// out [rows, columns] is the transpose of x [columns, rows].
void transpose(const float* x, std::int64_t ldx, std::int64_t rows, std::int64_t columns,
               float* out, std::int64_t ldo) {
  constexpr std::int64_t kBlock = 8;
  std::int64_t t = 0;
  for (; t + kBlock <= columns; t += kBlock) {
    std::int64_t i = 0;
    for (; i + kBlock <= rows; i += kBlock) {
      float block[kBlock][kBlock];
      for (std::int64_t r = 0; r < kBlock; ++r) {
        std::memcpy(block[r], x + (t + r) * ldx + i, sizeof(block[r]));
      }
      for (std::int64_t r = 0; r < kBlock; ++r) {
        for (std::int64_t s = 0; s < kBlock; ++s) out[(i + r) * ldo + t + s] = block[s][r];
      }
    }
    for (; i < rows; ++i) {
      for (std::int64_t s = t; s < t + kBlock; ++s) out[i * ldo + s] = x[s * ldx + i];
    }
  }
  for (; t < columns; ++t) {
    for (std::int64_t i = 0; i < rows; ++i) out[i * ldo + t] = x[t * ldx + i];
  }
}

void sgemm(const GemmArgs& args) {
  const dnnl_status_t status = dnnl_sgemm(
      args.transpose_a ? 'T' : 'N', args.transpose_b ? 'T' : 'N', args.m, args.n, args.k, 1.0F,
      static_cast<const float*>(args.a), args.lda, static_cast<const float*>(args.b), args.ldb,
      args.accumulate ? 1.0F : 0.0F, args.c, args.ldc);
  if (status == dnnl_out_of_memory) throw std::bad_alloc();
  if (status != dnnl_success) {
    throw Error("[gemm] oneDNN refused a product of float32: status " + std::to_string(status));
  }
}

/// Calls part(first, depth, args) for kDepth of k after kDepth: args is the tile for those alone,
/// a and b still to be set.
template <class Part>
void for_each_depth(const GemmArgs& tile, const Part& part) {
  for (std::int64_t first = 0; first < tile.k; first += kDepth) {
    GemmArgs args = tile;
    args.k = std::min(kDepth, tile.k - first);
    args.accumulate = tile.accumulate || first > 0;
    part(first, args);
  }
}

/// What a primitive is made for: everything but the pointers.
struct MatmulKey {
  ProductType type;
  std::int64_t m, n, k, lda, ldb, ldc;
  bool transpose_a, transpose_b, accumulate;
  bool operator==(const MatmulKey&) const = default;
};

class Matmul {
 public:
  Matmul(const MatmulKey& key, const dnnl::engine& engine) : key_(key) {
    using Desc = dnnl::memory::desc;
    const auto f32 = dnnl::memory::data_type::f32;
    const auto type = key.type == ProductType::float32 ? f32 : dnnl::memory::data_type::bf16;
    const auto strides = [](bool transposed, std::int64_t ld) {
      return transposed ? dnnl::memory::dims{1, ld} : dnnl::memory::dims{ld, 1};
    };
    const Desc a({key.m, key.k}, type, strides(key.transpose_a, key.lda));
    const Desc b({key.k, key.n}, type, strides(key.transpose_b, key.ldb));
    const Desc c({key.m, key.n}, f32, strides(false, key.ldc));
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    if (key.accumulate) {
      dnnl::post_ops sum;
      sum.append_sum(1.0F);
      attributes.set_post_ops(sum);
    }
    try {
      const dnnl::matmul::primitive_desc chosen({a, b, c}, attributes, engine);
      if (std::string(chosen.impl_info_str()).starts_with("ref")) return;
      primitive_ = dnnl::matmul(chosen);
      a_ = dnnl::memory(a, engine, nullptr);
      b_ = dnnl::memory(b, engine, nullptr);
      c_ = dnnl::memory(c, engine, nullptr);
      scratchpad_ = dnnl::memory(chosen.scratchpad_desc(), engine, nullptr);
    } catch (const dnnl::error& error) {
      if (error.status != dnnl_unimplemented) throw;
      primitive_ = {};
    }
  }

  const MatmulKey& key() const { return key_; }
  bool exists() const { return static_cast<bool>(primitive_); }

  void run(const GemmArgs& tile, const dnnl::stream& stream, Buffer<std::byte>& scratch) {
    a_.set_data_handle(const_cast<void*>(tile.a));
    b_.set_data_handle(const_cast<void*>(tile.b));
    c_.set_data_handle(tile.c);
    scratchpad_.set_data_handle(scratch.reserve(scratchpad_.get_desc().get_size()));
    primitive_.execute(stream, {{DNNL_ARG_SRC, a_},
                                {DNNL_ARG_WEIGHTS, b_},
                                {DNNL_ARG_DST, c_},
                                {DNNL_ARG_SCRATCHPAD, scratchpad_}});
  }

 private:
  MatmulKey key_;
  dnnl::primitive primitive_;
  dnnl::memory a_, b_, c_, scratchpad_;
};

/// A thread's own primitives, those used last in front.
class Matmuls {
 public:
  bool run(const MatmulKey& key, const GemmArgs& tile) {
    auto found =
        std::find_if(made_.begin(), made_.end(), [&](const Matmul& m) { return m.key() == key; });
    if (found == made_.end()) {
      if (made_.size() == kMost) made_.pop_back();
      found = made_.insert(made_.end(), Matmul(key, engine_));
    }
    std::rotate(made_.begin(), found, found + 1);
    Matmul& matmul = made_.front();
    if (!matmul.exists()) return false;
    matmul.run(tile, stream_, scratch_);
    stream_.wait();
    return true;
  }

 private:
  static constexpr std::size_t kMost = 64;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  std::vector<Matmul> made_;
  Buffer<std::byte> scratch_;
};

}  // namespace

void limit_onednn(Isa isa) {
  switch (isa) {
    case Isa::portable:
      dnnl::set_max_cpu_isa(dnnl::cpu_isa::sse41);
      return;
    case Isa::avx2:
      dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx2);
      return;
    case Isa::avx_vnni:
      dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx2_vnni);
      return;
    case Isa::avx512_vnni:
      dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx512_core_vnni);
      return;
    case Isa::avx512:
      dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx512_core_bf16);
      return;
    case Isa::amx:
      return;
  }
}

OneDnnInThisThread::OneDnnInThisThread() : threads_before_(omp_get_max_threads()) {
  static const sigset_t signals = signals_of_others();
  pthread_sigmask(SIG_BLOCK, &signals, &signals_before_);
  static const bool limited = (limit_onednn(active_isa()), true);
  static_cast<void>(limited);
  omp_set_num_threads(1);
}

OneDnnInThisThread::~OneDnnInThisThread() {
  omp_set_num_threads(threads_before_);
  pthread_sigmask(SIG_SETMASK, &signals_before_, nullptr);
}

void onednn_float32_tile(const GemmArgs& tile) {
  // oneDNN 2.6 copies the transposed A and the plain B of a tile in columns, at a fraction of its
  // speed where rows lie so far apart that they share cache sets.
  const bool copies_b = !tile.transpose_b && tile.ldb % kSharingSets == 0;
  if (!tile.transpose_a && !copies_b) return sgemm(tile);
  thread_local Buffer<float> scratch_a;
  thread_local Buffer<float> scratch_b;
  for_each_depth(tile, [&](std::int64_t first, GemmArgs& args) {
    const auto* const a = static_cast<const float*>(tile.a);
    args.a = a + first;
    if (tile.transpose_a) {
      args.lda = args.k + kPadding;
      float* const out = scratch_a.reserve(static_cast<std::size_t>(tile.m * args.lda));
      transpose(a + first * tile.lda, tile.lda, tile.m, args.k, out, args.lda);
      args.a = out;
      args.transpose_a = false;
    }
    const auto* const b = static_cast<const float*>(tile.b);
    args.b = tile.transpose_b ? b + first : b + first * tile.ldb;
    if (copies_b) {
      args.ldb = tile.n + kPadding;
      float* const out = scratch_b.reserve(static_cast<std::size_t>(args.k * args.ldb));
      for (std::int64_t i = 0; i < args.k; ++i) {
        std::copy_n(b + (first + i) * tile.ldb, tile.n, out + i * args.ldb);
      }
      args.b = out;
    }
    sgemm(args);
  });
}

void onednn_widened_tile(const GemmArgs& tile) {
  thread_local Buffer<float> scratch_a;
  thread_local Buffer<float> scratch_b;
  // `width` of the rows' own dimension and `args.k` of k, from `first` on, packed close.
  const auto widen = [](const void* x, std::int64_t ldx, bool k_is_outer, std::int64_t width,
                        std::int64_t first, std::int64_t depth, Buffer<float>& scratch) {
    const std::int64_t rows = k_is_outer ? depth : width;
    const std::int64_t columns = k_is_outer ? width : depth;
    const auto* from = static_cast<const std::uint16_t*>(x) + (k_is_outer ? first * ldx : first);
    float* const out = scratch.reserve(static_cast<std::size_t>(rows * (columns + kPadding)));
    for (std::int64_t i = 0; i < rows; ++i) {
      from_bfloat16(from + i * ldx, out + i * (columns + kPadding), columns);
    }
    return std::pair<const float*, std::int64_t>(out, columns + kPadding);
  };
  for_each_depth(tile, [&](std::int64_t first, GemmArgs& args) {
    std::tie(args.a, args.lda) =
        widen(tile.a, tile.lda, tile.transpose_a, tile.m, first, args.k, scratch_a);
    std::tie(args.b, args.ldb) =
        widen(tile.b, tile.ldb, !tile.transpose_b, tile.n, first, args.k, scratch_b);
    onednn_float32_tile(args);
  });
}

bool onednn_matmul_tile(ProductType type, const GemmArgs& tile) {
  thread_local Matmuls matmuls;
  return matmuls.run({.type = type,
                      .m = tile.m,
                      .n = tile.n,
                      .k = tile.k,
                      .lda = tile.lda,
                      .ldb = tile.ldb,
                      .ldc = tile.ldc,
                      .transpose_a = tile.transpose_a,
                      .transpose_b = tile.transpose_b,
                      .accumulate = tile.accumulate},
                     tile);
}

}  // namespace diffllama
