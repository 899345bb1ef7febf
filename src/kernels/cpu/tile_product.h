#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/panel_product.h"

/// The inner loop of every panel product but AMX's, written over a vector type V (vector_*.h) and a
/// Step, which says how one step down a panel is read and multiplied:
///   A            element of a
///   kDepth       k per step
///   kBytes       bytes of a panel per step
///   kParts       multiplications per step, each over kDepth / kParts of k
///   load(b, column, part), broadcast(a, part), multiply_add(a, b, sum)
/// A tile of kRows rows accumulates straight down kSumBlock values of k, then adds its sums to c.
/// So c[i][j] has the same additions in the same order whatever tile it is in.
namespace diffllama {

/// What a tile fetches of memory while it accumulates.
enum class Fetch {
  nothing,
  panel,  // its own panel, a little further on: the panel's only tile
  next,   // at each step what lies at `Ahead`: this tile's share of what comes after the piece
};
struct Ahead {
  const std::byte* at = nullptr;
  std::size_t stride = 0;  // of a step, at most a cache line
};

/// Where a tile reads and writes: row 0, first column, first k of the block.
template <class Step>
struct TileArgs {
  const typename Step::A* a;
  std::int64_t lda;
  const std::byte* b;
  std::size_t panel_stride;
  std::int64_t column;  // inside the panel
  std::int64_t depth;   // k of this block
  bool first;           // start from zero: c is not read
  float* c;
  std::int64_t ldc;
  std::int64_t columns;  // to store: less than the tile's only at the right edge
  Ahead ahead;
};

/// c = sum, or c = c + sum, for the columns that are there.
template <class V, class Step, int kRows, int kVectors>
inline void store_tile(const TileArgs<Step>& args, bool first,
                       typename V::Reg (&sum)[kRows][kVectors]) {
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) {
      const std::int64_t left = args.columns - j * V::kLanes;
      float* c = args.c + i * args.ldc + j * V::kLanes;
      if (left >= V::kLanes) {
        V::store(c, first ? sum[i][j] : V::add(V::load(c), sum[i][j]));
      } else if (left > 0) {
        V::store_first(c, first ? sum[i][j] : V::add(V::load_first(c, left), sum[i][j]), left);
      }
    }
  }
}

/// Fetches the lines of c while the tile accumulates: the hardware cannot foresee them.
template <class V, class Step, int kRows, int kVectors>
inline void prefetch_tile(const TileArgs<Step>& args) {
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) {
      __builtin_prefetch(args.c + i * args.ldc + j * V::kLanes, 1);
    }
  }
}

/// Fetches what a panel holds a little further on: with few rows, memory sets the pace, and more
/// must be under way than the hardware's own prefetching asks for.
template <class Step>
inline void prefetch_panel(const std::byte* b) {
  constexpr std::size_t kAhead = 2048;
#pragma GCC unroll 2
  for (std::size_t line = 0; line < Step::kBytes; line += 64) {
    __builtin_prefetch(b + kAhead + line);
  }
}

/// A tile of kRows rows and kVectors registers, which may run over several whole panels.
template <class V, class Step, int kRows, int kVectors, Fetch kFetch>
void tile(const TileArgs<Step>& args) {
  typename V::Reg sum[kRows][kVectors];
  const std::byte* b = args.b;
  const typename Step::A* a = args.a;
  const std::byte* ahead = args.ahead.at;
  prefetch_tile<V, Step, kRows, kVectors>(args);
  const auto multiply_part = [&](int part) __attribute__((always_inline)) {
    typename Step::B columns[kVectors];
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) {
      const std::int64_t at = j * V::kLanes;
      const std::byte* panel = b + static_cast<std::size_t>(at / kPanelColumns) * args.panel_stride;
      columns[j] = Step::load(panel, args.column + at % kPanelColumns, part);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const typename Step::Row row = Step::broadcast(a + i * args.lda, part);
#pragma GCC unroll 16
      for (int j = 0; j < kVectors; ++j) {
        sum[i][j] = Step::multiply_add(row, columns[j], sum[i][j]);
      }
    }
  };

  for (std::int64_t start = 0; start == 0 || start < args.depth; start += kSumBlock) {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 16
      for (int j = 0; j < kVectors; ++j) sum[i][j] = V::zero();
    }
    const std::int64_t depth = args.depth - start < kSumBlock ? args.depth - start : kSumBlock;
    std::int64_t t = 0;
    for (; t + Step::kDepth <= depth; t += Step::kDepth) {
      if constexpr (kFetch == Fetch::panel) prefetch_panel<Step>(b);
      if constexpr (kFetch == Fetch::next) {
        __builtin_prefetch(ahead, 0, 2);
        ahead += args.ahead.stride;
      }
#pragma GCC unroll 2
      for (int part = 0; part < Step::kParts; ++part) multiply_part(part);
      b += Step::kBytes;
      a += Step::kDepth;
    }
    if (t < depth) multiply_part(0);  // an odd k: the pair's other value is padding
    store_tile<V, Step, kRows, kVectors>(args, args.first && start == 0, sum);
  }
}

template <class V, class Step, int kVectors, Fetch kFetch, int... kRows>
constexpr auto tiles_of_rows(std::integer_sequence<int, kRows...> /*counts less one*/) {
  return std::array<void (*)(const TileArgs<Step>&), sizeof...(kRows)>{
      &tile<V, Step, kRows + 1, kVectors, kFetch>...};
}

/// The most rows of a tile.
template <class V, int kVectors>
constexpr int kMostRows = V::kAccumulators / kVectors;

/// All rows of the columns from `column` on that kVectors registers hold, for k in [k, k + depth),
/// in tiles of about as many rows each: a tile of few waits for its own sums. Moves `ahead` on by
/// what they fetch.
template <class V, class Step, int kVectors, Fetch kFetch>
void column_block(const PanelArgs& p, std::int64_t column, std::int64_t k, std::int64_t depth,
                  Ahead& ahead) {
  constexpr int kRows = kMostRows<V, kVectors>;
  static constexpr auto kTiles =
      tiles_of_rows<V, Step, kVectors, kFetch>(std::make_integer_sequence<int, kRows>());
  constexpr std::int64_t kWidth = kVectors * V::kLanes;
  const std::int64_t left = p.columns - column;
  TileArgs<Step> args;
  args.lda = p.lda;
  args.b = p.panels + static_cast<std::size_t>(column / kPanelColumns) * p.panel_stride +
           static_cast<std::size_t>(k / Step::kDepth) * Step::kBytes;
  args.panel_stride = p.panel_stride;
  args.column = column % kPanelColumns;
  args.depth = depth;
  args.first = k == 0 && !p.accumulate;
  args.ldc = p.ldc;
  args.columns = left < kWidth ? left : kWidth;
  std::int64_t tiles = (p.m + kRows - 1) / kRows;
  for (std::int64_t i = 0; i < p.m; --tiles) {
    args.a = static_cast<const typename Step::A*>(p.a) + i * p.lda + k;
    args.c = p.c + i * p.ldc + column;
    args.ahead = ahead;
    const std::int64_t rows = (p.m - i + tiles - 1) / tiles;
    kTiles[static_cast<std::size_t>(rows - 1)](args);
    if constexpr (kFetch == Fetch::next) {
      ahead.at += static_cast<std::size_t>(depth / Step::kDepth) * ahead.stride;
    }
    i += rows;
  }
}

/// All columns from `column` on, in tiles of kVectors registers, then of fewer at the right edge:
/// a panel that is not there must not be read.
template <class V, class Step, int kVectors>
void all_columns(const PanelArgs& p, std::int64_t column, std::int64_t k, std::int64_t depth) {
  constexpr std::int64_t kWidth = kVectors * V::kLanes;
  constexpr std::int64_t kSpan = kWidth > kPanelColumns ? kWidth - kPanelColumns : 0;
  Ahead none;
  for (; column + kSpan < p.columns; column += kWidth) {
    column_block<V, Step, kVectors, Fetch::nothing>(p, column, k, depth, none);
  }
  if constexpr (kVectors > 2) all_columns<V, Step, kVectors / 2>(p, column, k, depth);
}

/// Few rows go down one panel after the other: memory, which sets the pace then, is fastest when it
/// is read in one stream. Where one tile does not hold all rows of a panel, each piece of it is
/// multiplied by all of them in turn, while they fetch the next piece.
template <class V, class Step>
void few_rows(const PanelArgs& p, std::int64_t depth) {
  constexpr int kPanel = kPanelColumns / V::kLanes;
  constexpr int kPart = V::kTileVectors < kPanel ? V::kTileVectors : kPanel;
  constexpr std::int64_t kPartColumns = kPart * V::kLanes;
  constexpr int kRows = kMostRows<V, kPart>;
  const std::int64_t tiles = (p.m + kRows - 1) / kRows * (kPanelColumns / kPartColumns);
  Ahead ahead;
  for (std::int64_t column = 0; column < p.columns; column += kPanelColumns) {
    if (p.m <= kMostRows<V, kPanel>) {
      column_block<V, Step, kPanel, Fetch::panel>(p, column, 0, depth, ahead);
      continue;
    }
    const std::byte* piece =
        p.panels + static_cast<std::size_t>(column / kPanelColumns) * p.panel_stride;
    std::int64_t k = 0;
    do {
      const std::int64_t length = depth - k < kSumBlock ? depth - k : kSumBlock;
      piece += static_cast<std::size_t>(length / Step::kDepth) * Step::kBytes;
      ahead = {.at = piece, .stride = Step::kBytes / static_cast<std::size_t>(tiles)};
      for (std::int64_t at = column; at < column + kPanelColumns && at < p.columns;
           at += kPartColumns) {
        column_block<V, Step, kPart, Fetch::next>(p, at, k, length, ahead);
      }
      k += kSumBlock;
    } while (k < depth);
  }
}

/// The whole product. Of many rows k is cut into blocks, outermost, so that the rows' part of a
/// block stays in the second-level cache while the panels go by.
template <class V, class Step>
void tile_product(const PanelArgs& p) {
  constexpr std::int64_t kFewRows = 16;
  constexpr std::int64_t kBlockSteps = (128 << 10) / static_cast<std::int64_t>(Step::kBytes);
  constexpr std::int64_t kBlock = kBlockSteps * Step::kDepth;
  static_assert(kBlock % kSumBlock == 0);
  const std::int64_t depth = Step::kPadded ? (p.k + 31) / 32 * 32 : p.k;
  if (p.m <= kFewRows) return few_rows<V, Step>(p, depth);
  std::int64_t k = 0;
  do {
    all_columns<V, Step, V::kTileVectors>(p, 0, k, depth - k < kBlock ? depth - k : kBlock);
    k += kBlock;
  } while (k < depth);
}

/// float32 panels, float32 fma.
template <class V>
struct Float32Step {
  using A = float;
  using B = typename V::Reg;
  using Row = typename V::Reg;
  static constexpr std::int64_t kDepth = 1;
  static constexpr int kParts = 1;
  static constexpr std::size_t kBytes = kPanelColumns * 4;
  static constexpr bool kPadded = false;
  static B load(const std::byte* b, std::int64_t column, int /*part*/) {
    return V::load(reinterpret_cast<const float*>(b) + column);
  }
  static Row broadcast(const A* a, int /*part*/) { return V::set(*a); }
  static typename V::Reg multiply_add(Row a, B b, typename V::Reg sum) { return V::fma(a, b, sum); }
};

/// float16 panels, widened when read.
template <class V>
struct Float16Step : Float32Step<V> {
  static constexpr std::size_t kBytes = kPanelColumns * 2;
  static typename V::Reg load(const std::byte* b, std::int64_t column, int /*part*/) {
    return V::load_float16(b + 2 * column);
  }
};

/// bfloat16 panels, widened when read: the even values of the pairs, then the odd ones, which is
/// ascending k.
template <class V>
struct Bfloat16Step : Float32Step<V> {
  static constexpr std::int64_t kDepth = 2;
  static constexpr int kParts = 2;
  static constexpr std::size_t kBytes = kPanelColumns * 4;
  static typename V::Reg load(const std::byte* b, std::int64_t column, int part) {
    return part == 0 ? V::load_even_bfloat16(b + 4 * column) : V::load_odd_bfloat16(b + 4 * column);
  }
  static typename V::Reg broadcast(const float* a, int part) { return V::set(a[part]); }
};

/// The same with rows of bfloat16: for machines without bfloat16 arithmetic.
template <class V>
struct Bfloat16RowsStep : Bfloat16Step<V> {
  using A = std::uint16_t;
  static constexpr bool kPadded = true;
  static typename V::Reg broadcast(const std::uint16_t* a, int part) {
    return V::set_bfloat16(a + part);
  }
};

}  // namespace diffllama
