#include "kernels/matmul.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include "kernels/elementwise.h"
#include "kernels/quantized_panels.h"
#include "tensor/half.h"

namespace diffllama {
namespace {

constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

/// Large blocks ask for huge pages: streaming weights then misses the TLB 512 times less often.
void* allocate(std::size_t bytes) {
  const std::size_t alignment = bytes >= kHugePage ? kHugePage : kCacheLine;
  const std::size_t rounded = (std::max<std::size_t>(bytes, 1) + alignment - 1) / alignment;
  void* data = std::aligned_alloc(alignment, rounded * alignment);
  if (data == nullptr) throw std::bad_alloc();
  if (alignment == kHugePage) madvise(data, rounded * alignment, MADV_HUGEPAGE);  // a wish only
  return data;
}

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Half of the second-level cache.
std::int64_t row_block_bytes() {
  static const std::int64_t bytes = [] {
    const std::int64_t size = sysconf(_SC_LEVEL2_CACHE_SIZE);  // 0 where it is not known
    return (size > 0 ? size : std::int64_t{1} << 20) / 2;
  }();
  return bytes;
}

/// rows: 32 rows of k values, zero past the last. The transposition goes in blocks of 16 k, one
/// cache line of each row.
template <class Element, class Convert>
void transpose(const std::vector<float>& rows, std::int64_t k, std::int64_t depth, int pair,
               Element* panel, const Convert& convert) {
  constexpr std::int64_t kBlock = 16;
  for (std::int64_t t0 = 0; t0 < depth; t0 += kBlock) {
    for (std::int64_t j = 0; j < kPanelColumns; ++j) {
      const float* row = rows.data() + j * k;
      for (std::int64_t t = t0; t < std::min(t0 + kBlock, depth); ++t) {
        const std::int64_t at = (t / pair * kPanelColumns + j) * pair + t % pair;
        panel[at] = t < k ? convert(row[t]) : Element{};
      }
    }
  }
}

void pack_panel(PanelFormat format, const std::vector<float>& rows, std::int64_t k,
                std::byte* panel) {
  const std::int64_t depth = padded_depth(format, k);
  switch (format) {
    case PanelFormat::float32:
      transpose(rows, k, depth, 1, reinterpret_cast<float*>(panel), [](float x) { return x; });
      return;
    case PanelFormat::float16:
      transpose(rows, k, depth, 1, reinterpret_cast<std::uint16_t*>(panel), float_to_float16);
      return;
    case PanelFormat::bfloat16:
      transpose(rows, k, depth, 2, reinterpret_cast<std::uint16_t*>(panel), float_to_bfloat16);
      return;
    default:
      assert(!is_quantized(format));
  }
}

}  // namespace

void PackedMatrix::Free::operator()(std::byte* data) const { std::free(data); }

PackedMatrix::PackedMatrix(PanelFormat format, std::int64_t n, std::int64_t k,
                           const RowReader& read_row, const Parallel& parallel)
    : format_(format), n_(n), k_(k) {
  const std::int64_t panels = ceil_div(n, kPanelColumns);
  data_.reset(static_cast<std::byte*>(allocate(bytes())));
  std::vector<std::vector<float>> scratch(static_cast<std::size_t>(parallel.threads()));
  parallel.run(panels, [&](std::int64_t panel, int worker) {
    std::vector<float>& rows = scratch[static_cast<std::size_t>(worker)];
    rows.assign(static_cast<std::size_t>(kPanelColumns * k), 0.0F);
    const std::int64_t first = panel * kPanelColumns;
    for (std::int64_t j = 0; j < std::min(kPanelColumns, n - first); ++j) {
      read_row(first + j, std::span(rows).subspan(static_cast<std::size_t>(j * k),
                                                  static_cast<std::size_t>(k)));
    }
    pack_panel(format, rows, k, data_.get() + static_cast<std::size_t>(panel) * panel_stride());
  });
}

PackedMatrix PackedMatrix::of_blocks(PanelFormat format, std::int64_t n, std::int64_t k,
                                     const BlockReader& read_blocks, const Parallel& parallel) {
  assert(is_quantized(format) && k % kQuantBlock == 0);
  PackedMatrix matrix;
  matrix.format_ = format;
  matrix.n_ = n;
  matrix.k_ = k;
  matrix.data_.reset(static_cast<std::byte*>(allocate(matrix.bytes())));
  const std::size_t stride = matrix.panel_stride();
  parallel.run(ceil_div(n, kPanelColumns), [&](std::int64_t panel, int /*worker*/) {
    std::byte* to = matrix.data_.get() + static_cast<std::size_t>(panel) * stride;
    const std::int64_t first = panel * kPanelColumns;
    if (n - first < kPanelColumns) std::memset(to, 0, stride);
    for (std::int64_t j = 0; j < std::min(kPanelColumns, n - first); ++j) {
      pack_blocks(format, read_blocks(first + j), j, to);
    }
  });
  return matrix;
}

std::size_t PackedMatrix::bytes() const {
  return static_cast<std::size_t>(ceil_div(n_, kPanelColumns)) * panel_stride();
}

void PackedMatrix::read_row(std::int64_t row, std::span<float> out) const {
  assert(row >= 0 && row < n_ && std::ssize(out) == k_);
  const std::byte* panel =
      data_.get() + static_cast<std::size_t>(row / kPanelColumns) * panel_stride();
  const std::int64_t column = row % kPanelColumns;
  const auto half = [&](std::int64_t at) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, panel + 2 * at, sizeof(bits));
    return bits;
  };
  for (std::int64_t t = 0; t < k_; ++t) {
    float& value = out[static_cast<std::size_t>(t)];
    switch (format_) {
      case PanelFormat::float32:
        std::memcpy(&value, panel + 4 * (t * kPanelColumns + column), sizeof(value));
        break;
      case PanelFormat::float16:
        value = float16_to_float(half(t * kPanelColumns + column));
        break;
      case PanelFormat::bfloat16:
        value = bfloat16_to_float(half((t / 2 * kPanelColumns + column) * 2 + t % 2));
        break;
      case PanelFormat::q8_0:
      case PanelFormat::q4_0:
      case PanelFormat::q4_1:
        value = quantized_value(format_, panel, column, t);
        break;
    }
  }
}

void ActivationRows::Free::operator()(std::uint16_t* data) const { std::free(data); }

void ActivationRows::assign(const float* x, std::int64_t m, std::int64_t k, std::int64_t ldx,
                            ProductType type, const Parallel& parallel) {
  m_ = m;
  k_ = k;
  type_ = type;
  if (type == ProductType::float32) {
    data_ = x;
    lda_ = ldx;
    return;
  }
  // An odd number of cache lines between rows: a power of two would put the rows of a tile into a
  // few sets of the cache.
  constexpr std::int64_t kLine = 32;
  const std::int64_t depth = padded_depth(PanelFormat::bfloat16, k);
  lda_ = (depth / kLine | 1) * kLine;
  const auto needed = static_cast<std::size_t>(m * lda_);
  if (needed > capacity_) {
    buffer_.reset(static_cast<std::uint16_t*>(allocate(needed * sizeof(std::uint16_t))));
    capacity_ = needed;
  }
  data_ = buffer_.get();
  constexpr std::int64_t kRows = 16;
  parallel.run(ceil_div(m, kRows), [&](std::int64_t task, int /*worker*/) {
    for (std::int64_t i = task * kRows; i < std::min(m, (task + 1) * kRows); ++i) {
      std::uint16_t* row = buffer_.get() + i * lda_;
      to_bfloat16(x + i * ldx, row, k);
      std::fill(row + k, row + depth, std::uint16_t{0});
    }
  });
}

void matmul(const ActivationRows& a, const PackedMatrix& w, const float* bias, float* y,
            std::int64_t ldy, const Parallel& parallel) {
  assert(a.k() == w.k());
  if (a.m() == 0 || w.n() == 0) return;
  const PanelProduct product = panel_product(w.format(), a.type(), active_isa());
  const std::int64_t element = a.type() == ProductType::float32 ? 4 : 2;
  const std::int64_t panels = ceil_div(w.n(), kPanelColumns);

  // A task is a block of rows, which stays in the second-level cache, times a run of panels, each
  // of which goes by once. Tasks of one block of rows follow each other.
  constexpr std::int64_t kRowStep = 96;  // whole tiles of every ISA
  constexpr std::int64_t kTasksPerThread = 8;
  constexpr std::int64_t kDepthBytes = 4096;  // the block of k that products take at a time
  const std::int64_t row_bytes = std::min(a.lda() * element, kDepthBytes);
  const std::int64_t blocks = ceil_div(a.m() * row_bytes, row_block_bytes());
  const std::int64_t rows =
      ceil_div(a.m(), std::max<std::int64_t>(blocks, 1) * kRowStep) * kRowStep;
  const std::int64_t row_blocks = ceil_div(a.m(), rows);
  // Waking threads costs microseconds: a product of that size is one task, which runs here.
  constexpr std::int64_t kSmall = 1 << 17;
  const bool small = a.m() * w.n() <= kSmall / std::max<std::int64_t>(a.k(), 1);
  const std::int64_t tasks_wanted =
      small ? 1 : ceil_div(kTasksPerThread * parallel.threads(), row_blocks);
  const std::int64_t run = std::max<std::int64_t>(1, panels / tasks_wanted);
  const std::int64_t runs = ceil_div(panels, run);

  parallel.run(row_blocks * runs, [&](std::int64_t task, int /*worker*/) {
    const std::int64_t row = task / runs * rows;
    const std::int64_t panel = task % runs * run;
    const std::int64_t column = panel * kPanelColumns;
    PanelArgs args;
    args.a = static_cast<const std::byte*>(a.data()) + row * a.lda() * element;
    args.lda = a.lda();
    args.m = std::min(rows, a.m() - row);
    args.panels = w.panels() + static_cast<std::size_t>(panel) * w.panel_stride();
    args.panel_stride = w.panel_stride();
    args.columns = std::min(run * kPanelColumns, w.n() - column);
    args.k = a.k();
    args.c = y + row * ldy + column;
    args.ldc = ldy;
    product(args);
    if (bias == nullptr) return;
    for (std::int64_t i = 0; i < args.m; ++i) add_to(args.c + i * ldy, bias + column, args.columns);
  });
}

}  // namespace diffllama
