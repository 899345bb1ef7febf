#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/panel_kernels.h"
#include "kernels/cpu/x86/quantized_product_amx.h"
#include "kernels/cpu/x86/tile_config.h"

// Rows of bfloat16 through tdpbf16ps. One instruction adds 32 of k to a tile of 16 x 16: the even
// and the odd values of the pairs in two chains, added to each other and then to the tile. Every
// product goes through it, one row as well as many, so the bits of a row depend on nothing else.
namespace diffllama {
namespace {

constexpr std::int64_t kTileRows = 16;
constexpr std::int64_t kDepth = 32;                      // k of one tile
constexpr std::int64_t kStepBytes = kPanelColumns * 64;  // of a panel, for those k
constexpr std::int64_t kPairBytes = kPanelColumns * 4;   // between a panel's rows of pairs

// Tile registers: c of the upper and the lower 16 rows, left and right; a of both; b of both.
// g++ 12 needs literals in the intrinsics: 0 1 / 2 3, 4 5, 6 7.

/// Tiles for `upper` and `lower` rows of a and c (lower may be 0). Zeroes every tile.
void configure(std::int64_t upper, std::int64_t lower) {
  TileConfig config;
  const std::int64_t rows[8] = {upper, upper, lower, lower, upper, lower, kTileRows, kTileRows};
  for (int tile = 0; tile < 8; ++tile) config.set(tile, rows[tile], 64);
  config.load();
}

/// One tile of up to 32 rows by 32 columns, over `steps` x 32 of k.
struct TileArgs {
  const std::uint16_t* a;
  std::int64_t lda;  // elements
  const std::byte* b;
  std::int64_t steps;
  bool first;  // start from zero, not from c
  float* c;
  std::int64_t ldc;  // elements
  // What the panel after this one will need of memory, to be brought near meanwhile: lines from
  // `next` on, so many at each step.
  const std::byte* next;
  std::int64_t next_lines;
};

template <bool kLower>
void load_sums(const TileArgs& t) {
  if (t.first) {
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (kLower) {
      _tile_zero(2);
      _tile_zero(3);
    }
    return;
  }
  const std::int64_t stride = t.ldc * 4;
  _tile_loadd(0, t.c, stride);
  _tile_loadd(1, t.c + kTileRows, stride);
  if constexpr (kLower) {
    const float* lower = t.c + kTileRows * t.ldc;
    _tile_loadd(2, lower, stride);
    _tile_loadd(3, lower + kTileRows, stride);
  }
}

template <bool kLower>
void store_sums(const TileArgs& t) {
  const std::int64_t stride = t.ldc * 4;
  _tile_stored(0, t.c, stride);
  _tile_stored(1, t.c + kTileRows, stride);
  if constexpr (kLower) {
    float* lower = t.c + kTileRows * t.ldc;
    _tile_stored(2, lower, stride);
    _tile_stored(3, lower + kTileRows, stride);
  }
}

template <bool kLower>
void tile(const TileArgs& t) {
  load_sums<kLower>(t);
  const std::uint16_t* a = t.a;
  const std::byte* b = t.b;
  const std::byte* next = t.next;
  const std::int64_t stride = t.lda * 2;
  for (std::int64_t step = 0; step < t.steps; ++step) {
    if constexpr (!kLower) {
      for (std::int64_t line = 0; line < kStepBytes; line += 64) {
        __builtin_prefetch(b + 2 * kStepBytes + line);
      }
    }
    _tile_loadd(6, b, kPairBytes);
    _tile_loadd(4, a, stride);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + 64, kPairBytes);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (kLower) {
      _tile_loadd(5, a + kTileRows * t.lda, stride);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    for (std::int64_t line = 0; line < t.next_lines; ++line) {
      __builtin_prefetch(next + line * 64, 0, 2);
    }
    next += t.next_lines * 64;
    a += kDepth;
    b += kStepBytes;
  }
  store_sums<kLower>(t);
}

/// The right edge: the tile goes through a buffer, and only `columns` of it to c.
template <bool kLower>
void edge_tile(TileArgs t, std::int64_t rows, std::int64_t columns) {
  alignas(64) float buffer[2 * kTileRows * kPanelColumns] = {};
  float* const c = t.c;
  t.c = buffer;
  const std::int64_t ldc = t.ldc;
  t.ldc = kPanelColumns;
  for (std::int64_t i = 0; i < rows && !t.first; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) buffer[i * kPanelColumns + j] = c[i * ldc + j];
  }
  // g++ 12's tile loads do not tell it that they read memory.
  __asm__ volatile("" : : : "memory");
  tile<kLower>(t);
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) c[i * ldc + j] = buffer[i * kPanelColumns + j];
  }
}

/// Rows [row, row + count), cut into blocks of `height` rows, of every panel. k is cut into blocks,
/// outermost, so that the rows' part of a block stays in the second-level cache while the panels go
/// by.
template <bool kLower>
void rows(const PanelArgs& p, std::int64_t row, std::int64_t count, std::int64_t height) {
  constexpr std::int64_t kBlock = 64;
  const std::int64_t steps = (p.k + kDepth - 1) / kDepth;
  std::int64_t step = 0;
  do {
    TileArgs t;
    t.steps = steps - step < kBlock ? steps - step : kBlock;
    t.first = step == 0 && !p.accumulate;
    t.lda = p.lda;
    t.ldc = p.ldc;
    for (std::int64_t column = 0; column < p.columns; column += kPanelColumns) {
      t.b = p.panels + static_cast<std::size_t>(column / kPanelColumns) * p.panel_stride +
            step * kStepBytes;
      const std::int64_t columns = p.columns - column;
      t.next = t.b + p.panel_stride;
      t.next_lines = columns > kPanelColumns ? (kStepBytes / 64 * height + count - 1) / count : 0;
      for (std::int64_t i = row; i < row + count; i += height) {
        t.a = static_cast<const std::uint16_t*>(p.a) + i * p.lda + step * kDepth;
        t.c = p.c + i * p.ldc + column;
        if (columns < kPanelColumns) {
          edge_tile<kLower>(t, height, columns);
        } else {
          tile<kLower>(t);
        }
        t.next += t.steps * t.next_lines * 64;
      }
    }
    step += kBlock;
  } while (step < steps);
}

void bfloat16_pairs(const PanelArgs& p) {
  constexpr std::int64_t kHeight = 2 * kTileRows;
  const std::int64_t rest = p.m % kHeight;
  if (p.m >= kHeight) {
    configure(kTileRows, kTileRows);
    rows<true>(p, 0, p.m - rest, kHeight);
  }
  if (rest > kTileRows) {
    configure(kTileRows, rest - kTileRows);
    rows<true>(p, p.m - rest, rest, rest);
  } else if (rest > 0) {
    configure(rest, 0);
    rows<false>(p, p.m - rest, rest, rest);
  }
  _tile_release();
}

}  // namespace

PanelKernels amx_panel_kernels() {
  PanelKernels kernels = avx512_panel_kernels();
  kernels.bfloat16_pairs = bfloat16_pairs;
  kernels.quantized = quantized_products_amx();
  return kernels;
}

}  // namespace diffllama
