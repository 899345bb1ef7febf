#include "tasks/machine_speed.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <numeric>
#include <span>

#include "base/large_block.h"
#include "kernels/isa.h"
#include "kernels/quantized_panels.h"

namespace diffllama {
namespace {

constexpr std::size_t kPiece = std::size_t{8} << 20;
constexpr int kRounds = 3;

// Of a product: whole tiles of every ISA, operands of some 100 KB.
constexpr std::int64_t kRows = 96;
constexpr std::int64_t kColumns = 2 * kPanelColumns;
constexpr std::int64_t kDepth = 512;

/// work / seconds of the best round.
template <class Round>
double best_rate(double work, const Round& round) {
  using Clock = std::chrono::steady_clock;
  double best = 0;
  for (int i = 0; i < kRounds; ++i) {
    const auto start = Clock::now();
    round();
    best = std::max(best, work / std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

// In chains enough that additions never wait for each other, and with as much of memory under way
// as the kernels of decoding have (kernels/cpu/quantized_product.h): some machines read half as
// fast without.
std::uint64_t sum(const std::byte* data) {
  constexpr std::size_t kChains = 32;
  constexpr std::size_t kAhead = 4096;
  std::uint64_t chains[kChains] = {};
  for (std::size_t at = 0; at < kPiece; at += sizeof(chains)) {
    for (std::size_t line = 0; line < sizeof(chains); line += 64) {
      __builtin_prefetch(data + at + kAhead + line);
    }
    std::uint64_t words[kChains];
    std::memcpy(words, data + at, sizeof(words));
    for (std::size_t i = 0; i < kChains; ++i) chains[i] += words[i];
  }
  return std::accumulate(std::begin(chains), std::end(chains), std::uint64_t{0});
}

// Zeros: as fast as any numbers.
PackedMatrix zero_weights(PanelFormat format, const Parallel& parallel) {
  if (!is_quantized(format)) {
    return PackedMatrix(
        format, kColumns, kDepth,
        [](std::int64_t, std::span<float> out) { std::ranges::fill(out, 0.0F); }, parallel);
  }
  const std::int64_t blocks = kDepth / quant_layout(format).block_depth();
  const std::vector<std::byte> row(file_block_bytes(format) * static_cast<std::size_t>(blocks));
  return PackedMatrix::of_blocks(
      format, kColumns, kDepth, [&](std::int64_t) { return std::span<const std::byte>(row); },
      parallel);
}

}  // namespace

ReadBandwidth::ReadBandwidth(std::size_t bytes, const Parallel& parallel)
    : parallel_(parallel),
      pieces_(static_cast<std::int64_t>((bytes + kPiece - 1) / kPiece)),
      data_(allocate_large_block(static_cast<std::size_t>(pieces_) * kPiece)),
      sums_(static_cast<std::size_t>(pieces_)) {
  parallel_.run(pieces_, [data = data_.get()](std::int64_t piece, int /*worker*/) {
    std::memset(data + static_cast<std::size_t>(piece) * kPiece, 1, kPiece);
  });
}

double ReadBandwidth::measure() {
  const double bytes = static_cast<double>(pieces_) * static_cast<double>(kPiece);
  return best_rate(bytes, [this] {
    parallel_.run(pieces_, [this](std::int64_t piece, int /*worker*/) {
      sums_[static_cast<std::size_t>(piece)] +=
          sum(data_.get() + static_cast<std::size_t>(piece) * kPiece);
    });
  });
}

ProductPeak::ProductPeak(PanelFormat format, ProductType compute, const Parallel& parallel)
    : parallel_(parallel), weights_(zero_weights(format, parallel)) {
  const float* x = x_.reserve_zeroed(static_cast<std::size_t>(kRows * kDepth));
  y_.reserve_zeroed(static_cast<std::size_t>(parallel.threads() * kRows * kColumns));
  rows_.assign(x, kRows, kDepth, kDepth, compute);
}

double ProductPeak::measure() {
  constexpr std::int64_t kTasks = 16;  // a thread
  constexpr int kTimes = 16;           // a task
  const ActivationRows::Rows rows = rows_.rows_for(weights_.format(), parallel_);
  const PanelProduct multiply = panel_product(weights_.format(), rows.type, active_isa());
  PanelArgs args{.a = rows.data, .lda = rows.stride, .m = kRows, .panels = weights_.panels()};
  args.panel_stride = weights_.panel_stride();
  args.columns = kColumns;
  args.k = kDepth;
  args.ldc = kColumns;
  const std::int64_t tasks = kTasks * parallel_.threads();
  const double operations = 2.0 * kRows * kColumns * kDepth * kTimes * static_cast<double>(tasks);
  return best_rate(operations, [&] {
    parallel_.run(tasks, [&](std::int64_t /*task*/, int worker) {
      PanelArgs own = args;
      own.c = y_.data() + worker * kRows * kColumns;
      for (int i = 0; i < kTimes; ++i) multiply(own);
    });
  });
}

}  // namespace diffllama
