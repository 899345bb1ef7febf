#pragma once

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/cpu/quantized_product.h"
#include "kernels/cpu/x86/int8_avx512.h"
#include "kernels/cpu/x86/tile_config.h"

namespace diffllama {

/// quantized_product.h's products, with tdpbssd for every 16 rows: the same exact sums, and so the
/// same bits. A part of a panel is expanded to int8 and float32 once, and multiplied by all rows
/// while it is in a cache. Fewer rows, and the residual blocks, take the instructions of AVX-512.
/// Only files compiled for AMX may include it.
template <PanelFormat kFormat>
class QuantizedProductAmx {
 public:
  static void run(const PanelArgs& p) {
    const std::int64_t rows = p.k == 0 ? 0 : p.m / kTileRows * kTileRows;
    if (rows > 0) {
      configure();
      for (std::int64_t column = 0; column < p.columns; column += kPanelColumns) {
        panel(p, rows, column);
      }
      _tile_release();
    }
    if (rows == p.m) return;
    PanelArgs rest = p;
    rest.a = static_cast<const std::byte*>(p.a) + rows * p.lda;
    rest.m = p.m - rows;
    rest.c = p.c + rows * p.ldc;
    Few::run(rest);
  }

 private:
  using Few = QuantizedProduct<Int8Avx512, kFormat>;
  using Panel = QuantizedPanel<Int8Avx512, kFormat>;
  static constexpr QuantLayout kLayout = quant_layout(kFormat);
  static constexpr std::int64_t kTileRows = 16;
  static constexpr std::int64_t kLanes = 16;
  static constexpr int kGroups = Panel::kGroupsOfScale;  // of a tile of weights
  static constexpr int kScales = 8 / kGroups;            // of a step
  static constexpr std::int64_t kSteps = 16;             // expanded at a time
  static constexpr int kAhead = 4;                       // tiles of sums
  static constexpr std::size_t kGroupBytes = 4 * kPanelColumns;

  /// Part of a panel.
  struct Weights {
    alignas(64) std::int8_t quants[kSteps][8][kGroupBytes];
    alignas(64) float scales[kSteps][kScales][kPanelColumns];
    alignas(64) float minima[kSteps][kPanelColumns];
  };

  // Tile registers: 0 to 3 sums; 4 the rows' quants; 5 the weights'. g++ 12 needs literals in the
  // intrinsics.
  static void configure() {
    TileConfig config;
    for (int tile = 0; tile < kAhead; ++tile) config.set(tile, kTileRows, 64);
    config.set(4, kTileRows, std::int64_t{4} * kGroups);
    config.set(5, kGroups, 64);
    config.load();
  }

  static void panel(const PanelArgs& p, std::int64_t rows, std::int64_t column) {
    const std::byte* panel =
        p.panels + static_cast<std::size_t>(column / kPanelColumns) * p.panel_stride;
    Weights weights;
    for (std::int64_t k = 0; k < p.k; k += kSteps * kQuantStep) {
      const std::int64_t steps = std::min(kSteps, (p.k - k) / kQuantStep);
      expand(panel, k / kQuantStep, steps, weights);
      // g++ 12's tile loads do not tell it that they read memory.
      __asm__ volatile("" : : : "memory");
      for (std::int64_t row = 0; row < rows; row += kTileRows) {
        for (std::int64_t at = 0; at < kPanelColumns && column + at < p.columns; at += kLanes) {
          tile(p, weights, row, column, at, k, steps);
        }
      }
    }
    if constexpr (takes_residuals(kFormat)) {
      for (std::int64_t row = 0; row < rows; ++row) Few::residuals(p, panel, row, column);
    }
  }

  static void expand(const std::byte* panel, std::int64_t first, std::int64_t steps, Weights& out) {
    for (std::int64_t i = 0; i < steps; ++i) {
      const std::byte* block = Panel::block(panel, first + i);
      const std::byte* step = Panel::step(block, first + i);
      for (std::int64_t at = 0; at < kPanelColumns; at += kLanes) {
        expand_quants(step, at, out.quants[i], std::make_integer_sequence<int, 8>());
        const __m512 d = Panel::d(block, at);
        _mm512_store_ps(out.scales[i][0] + at, Panel::template scale<0>(d, step, at));
        if constexpr (kScales == 2) {
          _mm512_store_ps(out.scales[i][1] + at, Panel::template scale<1>(d, step, at));
        }
        if constexpr (kLayout.halves == 2) {
          _mm512_store_ps(out.minima[i] + at, Panel::minimum(block, step, at));
        }
      }
    }
  }

  template <int... kGroup>
  static void expand_quants(const std::byte* step, std::int64_t at,
                            std::int8_t (&out)[8][kGroupBytes],
                            std::integer_sequence<int, kGroup...> /*of the step*/) {
    const __m512i offset = _mm512_set1_epi8(static_cast<char>(kLayout.offset));
    (_mm512_store_si512(out[kGroup] + 4 * at,
                        _mm512_sub_epi8(Panel::template quants<kGroup>(step, at), offset)),
     ...);
  }

  using Sums = std::int32_t[kAhead][kTileRows][kLanes];

  /// 16 rows by 16 columns, over the part of k that `weights` holds.
  struct Tile {
    const std::int8_t* quants;  // of the first row; the others are lda bytes apart
    const float* scales;
    const float* scaled_sums;
    std::int64_t lda;
    const Weights& weights;
    std::int64_t at;     // first column in the panel
    std::int64_t count;  // of scales
    __m512 totals[kTileRows];
  };

  static void tile(const PanelArgs& p, const Weights& weights, std::int64_t row,
                   std::int64_t column, std::int64_t at, std::int64_t k, std::int64_t steps) {
    const QuantizedRow first = {static_cast<const std::byte*>(p.a) + row * p.lda, p.k};
    Tile t = {.quants = first.quants() + k,
              .scales = first.scales() + k / kQuantStep,
              .scaled_sums = first.scaled_sums() + k / kQuantStep,
              .lda = p.lda,
              .weights = weights,
              .at = at,
              .count = steps * kScales,
              .totals = {}};
    float* c = p.c + row * p.ldc + column + at;
    const __mmask16 mask = Avx512::first(std::min(kLanes, p.columns - column - at));
    if (k > 0) {
#pragma GCC unroll 16
      for (int i = 0; i < kTileRows; ++i) t.totals[i] = _mm512_maskz_loadu_ps(mask, c + i * p.ldc);
    }
    // The sums of some scales are computed ahead: they take long to come out of the tiles.
    alignas(64) Sums sums;
    multiply<0>(t, 0, sums);
    multiply<1>(t, 1, sums);
    multiply<2>(t, 2, sums);
    multiply<3>(t, 3, sums);
    for (std::int64_t index = 0; index < t.count; index += kAhead) {
      add<0>(t, index, sums);
      add<1>(t, index + 1, sums);
      add<2>(t, index + 2, sums);
      add<3>(t, index + 3, sums);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kTileRows; ++i) _mm512_mask_storeu_ps(c + i * p.ldc, mask, t.totals[i]);
  }

  /// The products of scale number `index`, through tile kTile.
  template <int kTile>
  __attribute__((always_inline)) static void multiply(const Tile& t, std::int64_t index,
                                                      Sums& sums) {
    if (index >= t.count) return;
    const std::int64_t group = index * kGroups;
    const std::int8_t* weights = t.weights.quants[0][0] + group * std::int64_t{kGroupBytes};
    _tile_loadd(4, t.quants + 4 * group, t.lda);
    _tile_loadd(5, weights + 4 * t.at, kGroupBytes);
    if constexpr (kTile == 0) {
      _tile_zero(0);
      _tile_dpbssd(0, 4, 5);
      _tile_stored(0, sums[0], 64);
    } else if constexpr (kTile == 1) {
      _tile_zero(1);
      _tile_dpbssd(1, 4, 5);
      _tile_stored(1, sums[1], 64);
    } else if constexpr (kTile == 2) {
      _tile_zero(2);
      _tile_dpbssd(2, 4, 5);
      _tile_stored(2, sums[2], 64);
    } else {
      static_assert(kTile == 3);
      _tile_zero(3);
      _tile_dpbssd(3, 4, 5);
      _tile_stored(3, sums[3], 64);
    }
  }

  /// totals[i] = f(totals[i], the value of row i), `value` being that of the first.
  template <class F>
  __attribute__((always_inline)) static void for_each_row(Tile& t, const float* value, const F& f) {
    const auto* at = reinterpret_cast<const std::byte*>(value);
#pragma GCC unroll 4
    for (int i = 0; i < kTileRows; i += 4) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const auto* of_row = reinterpret_cast<const float*>(at + j * t.lda);
        t.totals[i + j] = f(i + j, _mm512_set1_ps(*of_row), t.totals[i + j]);
      }
      at += 4 * t.lda;
    }
    // Here, and not among the tiles of the next sums, for want of registers.
#pragma GCC unroll 16
    for (int i = 0; i < kTileRows; ++i) __asm__ volatile("" : "+v"(t.totals[i]));
  }

  /// Adds the products of scale number `index`, and computes those that the tile has next.
  template <int kTile>
  __attribute__((always_inline)) static void add(Tile& t, std::int64_t index, Sums& sums) {
    if (index >= t.count) return;
    const std::int64_t step = index / kScales;
    const __m512 column_scale =
        _mm512_load_ps(t.weights.scales[0][0] + index * kPanelColumns + t.at);
    for_each_row(t, t.scales + step, [&](int i, __m512 row_scale, __m512 total) {
      return _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums[kTile][i])),
                             _mm512_mul_ps(column_scale, row_scale), total);
    });
    if constexpr (kLayout.halves == 2) {
      const __m512 minimum = _mm512_load_ps(t.weights.minima[step] + t.at);
      for_each_row(t, t.scaled_sums + step, [&](int /*row*/, __m512 row_sum, __m512 total) {
        return _mm512_fmadd_ps(minimum, row_sum, total);
      });
    }
    multiply<kTile>(t, index + kAhead, sums);
  }
};

/// Those of every quantised format, in the order of PanelFormat.
constexpr auto quantized_products_amx() {
  return []<std::size_t... kIndex>(std::index_sequence<kIndex...> /*formats*/) {
    return std::array<PanelProduct, kQuantizedFormats>{
        &QuantizedProductAmx<static_cast<PanelFormat>(kFirstQuantized + kIndex)>::run...};
  }
  (std::make_index_sequence<kQuantizedFormats>());
}

}  // namespace diffllama
