#include "kernels/matmul.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "base/large_block.h"
#include "kernels/elementwise.h"
#include "kernels/quantized_panels.h"
#include "kernels/quantized_rows.h"
#include "tensor/half.h"

namespace diffllama {
namespace {

constexpr std::size_t kCacheLine = 64;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// body(row, worker) for every row, a few rows to a task.
template <class Body>
void for_each_row(std::int64_t rows, const Parallel& parallel, const Body& body) {
  constexpr std::int64_t kRowsPerTask = 16;
  parallel.run(ceil_div(rows, kRowsPerTask), [&](std::int64_t task, int worker) {
    const std::int64_t end = std::min(rows, (task + 1) * kRowsPerTask);
    for (std::int64_t row = task * kRowsPerTask; row < end; ++row) body(row, worker);
  });
}

/// Bytes of the second-level cache.
std::int64_t second_level_cache() {
  static const std::int64_t bytes = [] {
    const std::int64_t size = sysconf(_SC_LEVEL2_CACHE_SIZE);  // 0 where it is not known
    return size > 0 ? size : std::int64_t{1} << 20;
  }();
  return bytes;
}

/// panel [words, 32] is the transpose of rows [32, words], in blocks of 16 words: a cache line of
/// each row, where they are 4 bytes.
template <std::size_t kWordBytes>
void transpose(const void* rows, std::int64_t words, std::byte* panel) {
  constexpr std::int64_t kBlock = 16;
  for (std::int64_t first = 0; first < words; first += kBlock) {
    const std::int64_t end = std::min(words, first + kBlock);
    for (std::int64_t j = 0; j < kPanelColumns; ++j) {
      const std::byte* row = static_cast<const std::byte*>(rows) + j * words * kWordBytes;
      for (std::int64_t t = first; t < end; ++t) {
        std::memcpy(panel + (t * kPanelColumns + j) * kWordBytes, row + t * kWordBytes, kWordBytes);
      }
    }
  }
}

/// Makes plain panels; one for each thread.
class PanelPacker {
 public:
  PanelPacker(PanelFormat format, std::int64_t k)
      : format_(format), k_(k), depth_(padded_depth(format, k)) {}

  /// `rows` of W from `first` on, at most 32; the others are zero.
  void pack(const PackedMatrix::RowReader& read_row, std::int64_t first, std::int64_t rows,
            std::byte* panel) {
    if (format_ == PanelFormat::float32) {
      float* all = floats_.reserve(static_cast<std::size_t>(kPanelColumns * depth_));
      for (std::int64_t j = 0; j < rows; ++j) {
        read_row(first + j, {all + j * depth_, static_cast<std::size_t>(k_)});
      }
      std::fill_n(all + rows * depth_, (kPanelColumns - rows) * depth_, 0.0F);
      return transpose<4>(all, depth_, panel);
    }
    std::uint16_t* all = halves_.reserve(static_cast<std::size_t>(kPanelColumns * depth_));
    for (std::int64_t j = 0; j < rows; ++j) {
      const std::span row(floats_.reserve(static_cast<std::size_t>(k_)),
                          static_cast<std::size_t>(k_));
      std::uint16_t* halves = all + j * depth_;
      read_row(first + j, row);
      if (format_ == PanelFormat::bfloat16) {
        to_bfloat16(row.data(), halves, k_);
      } else {
        std::ranges::transform(row, halves, float_to_float16);
      }
      std::fill_n(halves + k_, depth_ - k_, std::uint16_t{0});
    }
    std::fill_n(all + rows * depth_, (kPanelColumns - rows) * depth_, std::uint16_t{0});
    if (format_ == PanelFormat::bfloat16) {
      transpose<4>(all, depth_ / 2, panel);  // pairs of k stay together
    } else {
      transpose<2>(all, depth_, panel);
    }
  }

 private:
  PanelFormat format_;
  std::int64_t k_, depth_;
  Buffer<float> floats_;
  Buffer<std::uint16_t> halves_;
};

}  // namespace

std::shared_ptr<std::byte> PanelMemory::allocate(std::size_t bytes) const {
  constexpr std::size_t kPiece = std::size_t{64} << 20;
  const std::size_t rounded = (bytes + kCacheLine - 1) / kCacheLine * kCacheLine;
  Pieces& pieces = *pieces_;
  while (pieces.current < pieces.all.size() &&
         rounded > pieces.all[pieces.current].size - pieces.used) {
    ++pieces.current;
    pieces.used = 0;
  }
  if (pieces.current == pieces.all.size()) {
    const std::size_t size = std::max(kPiece, rounded);
    pieces.all.push_back({.data = allocate_large_block(size), .size = size});
  }
  const std::shared_ptr<std::byte>& piece = pieces.all[pieces.current].data;
  std::byte* data = piece.get() + pieces.used;
  pieces.used += rounded;
  return {piece, data};
}

void PanelMemory::reuse() {
  pieces_->current = 0;
  pieces_->used = 0;
}

PackedMatrix::PackedMatrix(PanelFormat format, std::int64_t n, std::int64_t k,
                           const RowReader& read_row, const Parallel& parallel,
                           const PanelMemory& memory)
    : format_(format), n_(n), k_(k) {
  assert(!is_quantized(format));
  const std::int64_t panels = ceil_div(n, kPanelColumns);
  const std::shared_ptr<std::byte> data = memory.allocate(bytes());
  std::vector<PanelPacker> packers;
  packers.reserve(static_cast<std::size_t>(parallel.threads()));
  for (int i = 0; i < parallel.threads(); ++i) packers.emplace_back(format, k);
  parallel.run(panels, [&](std::int64_t panel, int worker) {
    const std::int64_t first = panel * kPanelColumns;
    packers[static_cast<std::size_t>(worker)].pack(
        read_row, first, std::min(kPanelColumns, n - first),
        data.get() + static_cast<std::size_t>(panel) * panel_stride());
  });
  data_ = data;
}

PackedMatrix PackedMatrix::of_blocks(PanelFormat format, std::int64_t n, std::int64_t k,
                                     const BlockReader& read_blocks, const Parallel& parallel,
                                     const PanelMemory& memory) {
  assert(is_quantized(format) && k % quant_layout(format).block_depth() == 0);
  PackedMatrix matrix;
  matrix.format_ = format;
  matrix.n_ = n;
  matrix.k_ = k;
  const std::shared_ptr<std::byte> data = memory.allocate(matrix.bytes());
  const std::size_t stride = matrix.panel_stride();
  parallel.run(ceil_div(n, kPanelColumns), [&](std::int64_t panel, int /*worker*/) {
    std::byte* to = data.get() + static_cast<std::size_t>(panel) * stride;
    const std::int64_t first = panel * kPanelColumns;
    if (n - first < kPanelColumns) std::memset(to, 0, stride);
    for (std::int64_t j = 0; j < std::min(kPanelColumns, n - first); ++j) {
      pack_blocks(format, read_blocks(first + j), j, to);
    }
  });
  matrix.data_ = data;
  return matrix;
}

PackedMatrix PackedMatrix::of_panels(PanelFormat format, std::int64_t n, std::int64_t k,
                                     std::shared_ptr<const std::byte> panels) {
  PackedMatrix matrix;
  matrix.format_ = format;
  matrix.n_ = n;
  matrix.k_ = k;
  matrix.data_ = std::move(panels);
  return matrix;
}

std::size_t PackedMatrix::bytes(PanelFormat format, std::int64_t n, std::int64_t k) {
  return static_cast<std::size_t>(ceil_div(n, kPanelColumns)) * panel_bytes(format, k);
}

void ActivationRows::assign(const float* x, std::int64_t m, std::int64_t k, std::int64_t ldx,
                            ProductType compute) {
  x_ = x;
  m_ = m;
  k_ = k;
  ldx_ = ldx;
  compute_ = compute;
  has_bfloat16_ = has_widened_ = has_int8_ = false;
}

ActivationRows::Rows ActivationRows::rows_for(PanelFormat format, const Parallel& parallel) {
  if (is_quantized(format)) return int8_rows(parallel);
  if (compute_ == ProductType::bfloat16) {
    return active_isa() >= Isa::avx512 ? bfloat16_rows(parallel) : widened_rows(parallel);
  }
  return {reinterpret_cast<const std::byte*>(x_), ldx_, 4 * ldx_, 4 * ldx_, ProductType::float32};
}

// Rows of each kind are an odd number of cache lines apart: a power of two would put the rows of a
// tile into a few sets of the cache.

ActivationRows::Rows ActivationRows::bfloat16_rows(const Parallel& parallel) {
  constexpr auto kLine = static_cast<std::int64_t>(kCacheLine) / 2;
  const std::int64_t depth = padded_depth(PanelFormat::bfloat16, k_);
  const std::int64_t stride = (depth / kLine | 1) * kLine;
  std::uint16_t* rows = bfloat16_.reserve(static_cast<std::size_t>(m_ * stride));
  if (!has_bfloat16_) {
    for_each_row(m_, parallel, [&](std::int64_t i, int /*worker*/) {
      std::uint16_t* row = rows + i * stride;
      to_bfloat16(x_ + i * ldx_, row, k_);
      std::fill(row + k_, row + depth, std::uint16_t{0});
    });
    has_bfloat16_ = true;
  }
  return {reinterpret_cast<const std::byte*>(rows), stride, 2 * stride, 2 * stride,
          ProductType::bfloat16};
}

/// Machines without an instruction for products of bfloat16 multiply in float32: values are rounded
/// and widened here, once, not each time that a tile reads them.
ActivationRows::Rows ActivationRows::widened_rows(const Parallel& parallel) {
  constexpr auto kLine = static_cast<std::int64_t>(kCacheLine) / 4;
  const std::int64_t stride = (ceil_div(k_, kLine) | 1) * kLine;
  std::uint16_t* narrow = bfloat16_.reserve(static_cast<std::size_t>(parallel.threads() * k_));
  float* rows = widened_.reserve(static_cast<std::size_t>(m_ * stride));
  if (!has_widened_) {
    for_each_row(m_, parallel, [&](std::int64_t i, int worker) {
      to_bfloat16(x_ + i * ldx_, narrow + worker * k_, k_);
      from_bfloat16(narrow + worker * k_, rows + i * stride, k_);
    });
    has_widened_ = true;
  }
  return {reinterpret_cast<const std::byte*>(rows), stride, 4 * stride, 4 * stride,
          ProductType::float32};
}

ActivationRows::Rows ActivationRows::int8_rows(const Parallel& parallel) {
  constexpr auto kLine = static_cast<std::int64_t>(kCacheLine);
  const std::int64_t stride = (ceil_div(quantized_row_bytes(k_), kLine) | 1) * kLine;
  std::byte* rows = int8_.reserve(static_cast<std::size_t>(m_ * stride));
  if (!has_int8_) {
    for_each_row(m_, parallel, [&](std::int64_t i, int /*worker*/) {
      quantize_row(x_ + i * ldx_, k_, rows + i * stride);
    });
    has_int8_ = true;
  }
  return {rows, stride, stride, quantized_part_bytes(k_), ProductType::int8};
}

namespace {

/// Panels of one thread's first run, of `panels` that all threads take.
std::int64_t first_run(std::int64_t panels, std::int64_t threads) {
  return std::max<std::int64_t>(1, panels * 7 / (8 * threads));
}

/// A product cut into tasks: a block of rows, which stays in the second-level cache, times a run of
/// panels, each of which goes by once. Tasks of one block of rows follow each other.
class Tasks {
 public:
  Tasks(const Product& product, ActivationRows& activations, const Parallel& parallel)
      : product_(product),
        a_(activations.rows_for(product.w->format(), parallel)),
        multiply_(panel_product(product.w->format(), a_.type, active_isa())),
        m_(activations.m()),
        panels_(ceil_div(product.w->n(), kPanelColumns)),
        threads_(parallel.threads()) {
    constexpr std::int64_t kRowStep = 96;       // whole tiles of every ISA
    constexpr std::int64_t kDepthBytes = 4096;  // the block of k that products take at a time
    const std::int64_t row_bytes = std::min(a_.read_bytes, kDepthBytes);
    const std::int64_t blocks = ceil_div(m_ * row_bytes, second_level_cache() / 2);
    rows_ = ceil_div(m_, std::max<std::int64_t>(blocks, 1) * kRowStep) * kRowStep;
    for (Panels run = panels_of(0); run.count > 0; run = panels_of(runs_)) ++runs_;
  }

  std::int64_t count() const { return ceil_div(m_, rows_) * runs_; }

  void run(std::int64_t task) const { multiply(task / runs_ * rows_, panels_of(task % runs_)); }
  void run_all() const {
    for (std::int64_t row = 0; row < m_; row += rows_) multiply(row, {0, panels_});
  }

 private:
  struct Panels {
    std::int64_t first = 0, count = 0;
  };

  /// Run `index` of panels. First one long run a thread, since starting one costs time in which
  /// memory idles; then rounds of ever shorter ones, so that threads end together.
  Panels panels_of(std::int64_t index) const {
    Panels run = {0, 0};
    for (std::int64_t round = 0; round <= index / threads_; ++round) {
      run.first += run.count * threads_;
      run.count = first_run(panels_ - run.first, threads_);
    }
    run.first = std::min(panels_, run.first + index % threads_ * run.count);
    run.count = std::min(run.count, panels_ - run.first);
    return run;
  }

  void multiply(std::int64_t row, Panels run) const {
    const PackedMatrix& w = *product_.w;
    const std::int64_t column = run.first * kPanelColumns;
    PanelArgs args;
    args.a = a_.data + row * a_.stride_bytes;
    args.lda = a_.stride;
    args.m = std::min(rows_, m_ - row);
    args.panels = w.panels() + static_cast<std::size_t>(run.first) * w.panel_stride();
    args.panel_stride = w.panel_stride();
    args.columns = std::min(run.count * kPanelColumns, w.n() - column);
    args.k = w.k();
    args.c = product_.y + row * product_.ldy + column;
    args.ldc = product_.ldy;
    multiply_(args);
    if (product_.bias == nullptr) return;
    for (std::int64_t i = 0; i < args.m; ++i) {
      add_to(args.c + i * product_.ldy, product_.bias + column, args.columns);
    }
  }

  Product product_;
  ActivationRows::Rows a_;
  PanelProduct multiply_;
  std::int64_t m_, panels_, threads_;
  std::int64_t rows_ = 0, runs_ = 0;
};

/// What each thread begins with: part of its first run.
ReadAhead first_reads(const PackedMatrix& w, std::int64_t threads) {
  const auto run = static_cast<std::size_t>(first_run(ceil_div(w.n(), kPanelColumns), threads));
  const std::size_t stride = run * w.panel_stride();
  return {.data = w.panels(),
          .stride = stride,
          .bytes = std::min(stride, static_cast<std::size_t>(second_level_cache() / 4))};
}

}  // namespace

void matmul(ActivationRows& a, std::span<const Product> products, const Parallel& parallel,
            const PackedMatrix* next) {
  // Waking threads costs microseconds: products of that size are done by this one alone.
  constexpr std::int64_t kSmall = 1 << 17;
  constexpr std::size_t kMost = 3;
  assert(products.size() <= kMost);
  std::int64_t columns = 0;
  for (const Product& product : products) columns += product.w->n();
  if (a.m() == 0 || columns == 0) return;

  std::array<std::optional<Tasks>, kMost> parts;
  std::size_t used = 0;
  std::int64_t count = 0;
  for (const Product& product : products) {
    assert(a.k() == product.w->k());
    if (product.w->n() > 0) count += parts[used++].emplace(product, a, parallel).count();
  }
  if (a.m() * columns <= kSmall / std::max<std::int64_t>(a.k(), 1)) {
    for (std::size_t part = 0; part < used; ++part) parts[part]->run_all();
    return;
  }
  parallel.read_ahead(next == nullptr ? ReadAhead{} : first_reads(*next, parallel.threads()));
  parallel.run(count, [&parts](std::int64_t task, int /*worker*/) {
    std::size_t part = 0;
    while (task >= parts[part]->count()) task -= parts[part++]->count();
    parts[part]->run(task);
  });
}

}  // namespace diffllama
