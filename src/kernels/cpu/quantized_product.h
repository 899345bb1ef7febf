#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/cpu/panel_kernels.h"
#include "kernels/panel_product.h"
#include "kernels/quantized_panels.h"
#include "kernels/quantized_rows.h"

/// Products of quantised rows with block-quantised panels, written over V (x86/int8_avx512.h), the
/// int8 arithmetic of an ISA. Quants are expanded in registers to bytes and multiplied by the rows'
/// quants four of k at a time; the sum over the k that share a scale is an exact integer, so every
/// ISA has the same bits.
///
/// A tile has up to V::kTileRows rows and V::kTileVectors registers of columns, or all of a panel's
/// columns if it has V::kFewRows rows or fewer. V::kPrefetches: whether prefetching helps.
///
/// V::Dot<kBits> sums the products of quants of kBits bits and a row's int8 in one register of
/// columns: start(x), add<g>(weights, row) for the groups g of a scale, counted from 0 and
/// ascending, total(). Dot::kSigned: it takes the quants' offset off itself.
namespace diffllama {

/// A panel's parts in registers of V.
template <class V, PanelFormat kFormat>
struct QuantizedPanel {
  using F = typename V::Float;
  using Reg = typename F::Reg;
  using Bytes = typename V::Bytes;
  static constexpr QuantLayout kLayout = quant_layout(kFormat);
  /// Groups of four of k that share a scale.
  static constexpr int kGroupsOfScale = kLayout.scales == 2 ? 4 : 8;

  /// Quants of group `kGroup` (4 of k) of the columns at `at`, not offset.
  template <int kGroup>
  static Bytes quants(const std::byte* step, std::int64_t at) {
    constexpr std::size_t kPart = 4 * kPanelColumns;
    const std::byte* low = step + kLayout.quants_offset() + 4 * at;
    if constexpr (kLayout.quant_bits == 8) {
      return V::load(low + kGroup * kPart);
    } else {
      const Bytes both = V::load(low + kGroup / 2 * kPart);
      const Bytes nibbles = kGroup % 2 == 0 ? V::low_nibbles(both) : V::high_nibbles(both);
      if constexpr (kLayout.high_bits == 0) {
        return nibbles;
      } else {
        constexpr int kGroups = 8 / kLayout.high_bits;
        const Bytes high =
            V::load(step + kLayout.high_offset() + kGroup / kGroups * kPart + 4 * at);
        // Bits kGroup % kGroups * high_bits and up go to bit 4 and up.
        constexpr int kShift = 4 - kGroup % kGroups * kLayout.high_bits;
        constexpr int kMask = ((1 << kLayout.high_bits) - 1) << 4;
        return V::template insert<kShift, kMask>(nibbles, high);
      }
    }
  }

  /// The block that holds step number `index` of a panel, and the step.
  static const std::byte* block(const std::byte* panel, std::int64_t index) {
    return panel + static_cast<std::size_t>(index / kLayout.steps) * kLayout.block_bytes();
  }
  static const std::byte* step(const std::byte* block, std::int64_t index) {
    return block + kLayout.header_bytes() +
           static_cast<std::size_t>(index % kLayout.steps) * kLayout.step_bytes();
  }

  static Reg d(const std::byte* block, std::int64_t at) { return F::load_float16(block + 2 * at); }

  /// Scales of the columns at `at`, number kScale of the step's.
  template <int kScale>
  static Reg scale(Reg d, const std::byte* step, std::int64_t at) {
    const std::byte* scales = step + kScale * kPanelColumns + at;
    if constexpr (kLayout.scales == 2) {
      return F::mul(d, V::load_int8(scales));
    } else if constexpr (kLayout.scales == 1) {
      return F::mul(d, V::load_uint8(scales));
    } else {
      return d;
    }
  }

  /// Minima of the columns at `at`, of a format that has them.
  static Reg minimum(const std::byte* block, const std::byte* step, std::int64_t at) {
    const Reg minimum = F::load_float16(block + 2 * (kPanelColumns + at));
    if constexpr (kLayout.minima == 0) {
      return minimum;
    } else {
      return F::sub(F::zero(), F::mul(minimum, V::load_uint8(step + kPanelColumns + at)));
    }
  }
};

template <class V, PanelFormat kFormat>
class QuantizedProduct {
 public:
  static void run(const PanelArgs& p) {
    for (std::int64_t column = 0; column < p.columns; column += kPanelColumns) {
      const std::byte* panel =
          p.panels + static_cast<std::size_t>(column / kPanelColumns) * p.panel_stride;
      multiply_panel(p, panel, column);
      if constexpr (takes_residuals(kFormat)) {
        for (std::int64_t row = 0; row < p.m; ++row) residuals(p, panel, row, column);
      }
    }
  }

  /// Adds the products of a row's residual blocks to what its tiles stored, while the panel's
  /// blocks are still in a cache.
  static void residuals(const PanelArgs& p, const std::byte* panel, std::int64_t row,
                        std::int64_t column) {
    const QuantizedRow whole = {static_cast<const std::byte*>(p.a) + row * p.lda, p.k};
    const std::int32_t count = whole.residual_count();
    if (count == 0) return;
    constexpr std::int64_t kWidth = std::int64_t{vectors_of(1)} * F::kLanes;
    Tile<1> t;
    t.rows[0] = whole.residual();
    for (t.at = 0; t.at < kPanelColumns && column + t.at < p.columns; t.at += kWidth) {
      load(p, t, row, column + t.at);
      for (std::int32_t i = 0; i < count; ++i) {
        const std::int32_t index = whole.residual_blocks()[i];
        t.block = Panel::block(panel, index);
        t.step = Panel::step(t.block, index);
        t.k = i * kQuantStep;
        load_d(t);
        multiply_step(t);
      }
      store(p, t, row, column + t.at);
    }
  }

 private:
  using Panel = QuantizedPanel<V, kFormat>;
  using F = typename V::Float;
  using Reg = typename F::Reg;
  using Bytes = typename V::Bytes;
  static constexpr QuantLayout kLayout = quant_layout(kFormat);
  using Dot = typename V::template Dot<kLayout.quant_bits + kLayout.high_bits>;
  static constexpr int kOffset = Dot::kSigned ? 0 : kLayout.offset;
  static constexpr std::size_t kHeaderBytes = kLayout.header_bytes();
  static constexpr std::size_t kStepBytes = kLayout.step_bytes();
  static constexpr std::size_t kBlockBytes = kLayout.block_bytes();
  // Registers of a panel's columns, and how many of them a tile holds.
  static constexpr int kPanelVectors = kPanelColumns / F::kLanes;
  static constexpr int vectors_of(std::int64_t rows) {
    return rows <= V::kFewRows ? kPanelVectors : V::kTileVectors;
  }
  static constexpr int kGroupsOfScale = Panel::kGroupsOfScale;

  /// k in [k, end) of a panel, which begins at `column`, times the rows from `row` on.
  struct Part {
    const std::byte* panel;
    std::int64_t column, row, k, end;
    const std::byte* ahead = nullptr;  // what to fetch meanwhile, so many lines at each step
    int lines = 0;
  };

  template <int... kRows>
  static constexpr auto tiles_of_rows(std::integer_sequence<int, kRows...> /*counts less one*/) {
    return std::array<void (*)(const PanelArgs&, Part&), sizeof...(kRows)>{&tiles<kRows + 1>...};
  }

  /// Passes over a panel that so many rows take.
  static std::int64_t passes_of(std::int64_t rows) {
    std::int64_t passes = 0;
    for (std::int64_t left = (rows + V::kTileRows - 1) / V::kTileRows; left > 0; --left) {
      const std::int64_t of_tile = (rows + left - 1) / left;
      passes += kPanelVectors / vectors_of(of_tile);
      rows -= of_tile;
    }
    return passes;
  }

  /// All rows of a panel. Where one pass does not do, each piece of the panel is multiplied by all
  /// rows in turn, while few rows, whose pace memory sets, fetch the next piece.
  static void multiply_panel(const PanelArgs& p, const std::byte* panel, std::int64_t column) {
    static constexpr auto kTiles = tiles_of_rows(std::make_integer_sequence<int, V::kTileRows>());
    constexpr std::int64_t kPieceDepth = 256;  // whole blocks of every format
    constexpr std::int64_t kFewRows = 16;
    constexpr std::size_t kAhead = 4096;
    constexpr int kStepLines = (kBlockBytes / kLayout.steps + 63) / 64;
    const std::int64_t passes = passes_of(p.m);
    Part part = {.panel = panel, .column = column, .row = 0, .k = 0, .end = p.k};
    do {
      if (passes > 1 && p.k - part.k > kPieceDepth) part.end = part.k + kPieceDepth;
      if (passes == 1) {
        part.ahead = panel + kAhead;
        part.lines = V::kPrefetches ? kStepLines : 0;
      } else if (passes > 1 && p.m <= kFewRows) {
        part.ahead = Panel::block(panel, part.end / kQuantStep);
        part.lines = static_cast<int>((kStepLines + passes - 1) / passes);
      }
      std::int64_t left = (p.m + V::kTileRows - 1) / V::kTileRows;
      for (part.row = 0; part.row < p.m; --left) {
        const std::int64_t rows = (p.m - part.row + left - 1) / left;
        kTiles[static_cast<std::size_t>(rows - 1)](p, part);
        part.row += rows;
      }
      part.k = part.end;
      part.end = p.k;
    } while (part.k < p.k);
  }

  /// kRows rows times the columns of a part.
  template <int kRows>
  static void tiles(const PanelArgs& p, Part& part) {
    constexpr std::int64_t kWidth = std::int64_t{vectors_of(kRows)} * F::kLanes;
    for (std::int64_t j = 0; j < kPanelColumns && part.column + j < p.columns; j += kWidth) {
      tile<kRows>(p, part, j);
    }
  }

  template <int kRows>
  struct Tile {
    static constexpr int kVectors = vectors_of(kRows);
    const std::byte* block;  // of the panel
    const std::byte* step;
    std::int64_t at;  // first column in the panel
    QuantizedRow rows[kRows];
    std::int64_t k;  // where the step begins
    Dot sums[kRows][kVectors];
    Reg totals[kRows][kVectors];
    Reg d[kVectors];
  };

  /// Group kGroup of those that share a scale, of which the step's group kFirst is the first.
  template <int kFirst, int kGroup, int kRows>
  __attribute__((always_inline)) static void multiply_group(Tile<kRows>& t) {
    constexpr int kVectors = Tile<kRows>::kVectors;
    Bytes weights[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) {
      weights[j] = Panel::template quants<kFirst + kGroup>(t.step, t.at + j * F::kLanes);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const Bytes row = V::broadcast(t.rows[i].quants() + t.k + 4 * (kFirst + kGroup));
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) t.sums[i][j].template add<kGroup>(weights[j], row);
    }
  }

  /// The k of one scale: kFirst is its first group.
  template <int kFirst, int kRows, int... kGroups>
  __attribute__((always_inline)) static void multiply_scaled(
      Tile<kRows>& t, std::integer_sequence<int, kGroups...> /*of the scale*/) {
    constexpr int kVectors = Tile<kRows>::kVectors;
    const std::int64_t sixteenth = t.k / 16 + kFirst / 4;
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      std::int32_t start = 0;
      if constexpr (kOffset != 0) {
        const std::int32_t* sums = t.rows[i].sums() + sixteenth;
        start = -kOffset * (kGroupsOfScale == 4 ? sums[0] : sums[0] + sums[1]);
      }
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) t.sums[i][j].start(start);
    }
    (multiply_group<kFirst, kGroups>(t), ...);
    Reg scale[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) {
      scale[j] = Panel::template scale<kFirst / 4>(t.d[j], t.step, t.at + j * F::kLanes);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const Reg row_scale = F::set(t.rows[i].scales()[t.k / 32]);
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) {
        t.totals[i][j] =
            V::fma(V::to_float(t.sums[i][j].total()), F::mul(scale[j], row_scale), t.totals[i][j]);
      }
    }
  }

  template <int kRows>
  __attribute__((always_inline)) static void add_minima(Tile<kRows>& t) {
    constexpr int kVectors = Tile<kRows>::kVectors;
    Reg minimum[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) {
      minimum[j] = Panel::minimum(t.block, t.step, t.at + j * F::kLanes);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const Reg sum = F::set(t.rows[i].scaled_sums()[t.k / 32]);
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) {
        t.totals[i][j] = V::fma(minimum[j], sum, t.totals[i][j]);
      }
    }
  }

  /// The step of the weights times that of the rows.
  template <int kRows>
  __attribute__((always_inline)) static void multiply_step(Tile<kRows>& t) {
    if constexpr (kGroupsOfScale == 4) {
      multiply_scaled<0>(t, std::make_integer_sequence<int, 4>());
      multiply_scaled<4>(t, std::make_integer_sequence<int, 4>());
    } else {
      multiply_scaled<0>(t, std::make_integer_sequence<int, 8>());
    }
    if constexpr (kLayout.halves == 2) add_minima(t);
  }

  template <int kRows>
  __attribute__((always_inline)) static void load_d(Tile<kRows>& t) {
#pragma GCC unroll 8
    for (int j = 0; j < Tile<kRows>::kVectors; ++j) {
      t.d[j] = Panel::d(t.block, t.at + j * F::kLanes);
    }
  }

  template <int kRows>
  static void tile(const PanelArgs& p, Part& part, std::int64_t j0) {
    Tile<kRows> t;
    t.at = j0;
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      t.rows[i] = {static_cast<const std::byte*>(p.a) + (part.row + i) * p.lda, p.k};
#pragma GCC unroll 8
      for (int j = 0; j < Tile<kRows>::kVectors; ++j) t.totals[i][j] = F::zero();
    }
    if (part.k > 0) load(p, t, part.row, part.column + j0);
    t.block = Panel::block(part.panel, part.k / kQuantStep);
    for (t.k = part.k; t.k < part.end; t.block += kBlockBytes) {
      load_d(t);
      t.step = t.block + kHeaderBytes;
      for (int step = 0; step < kLayout.steps; ++step) {
        for (int line = 0; line < part.lines; ++line, part.ahead += 64) {
          __builtin_prefetch(part.ahead);
        }
        multiply_step(t);
        t.step += kStepBytes;
        t.k += kQuantStep;
      }
    }
    store(p, t, part.row, part.column + j0);
  }

  /// What `store` stored.
  template <int kRows>
  static void load(const PanelArgs& p, Tile<kRows>& t, std::int64_t row, std::int64_t column) {
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
      for (int j = 0; j < Tile<kRows>::kVectors; ++j) {
        const std::int64_t at = column + j * F::kLanes;
        const std::int64_t left = p.columns - at;
        const float* c = p.c + (row + i) * p.ldc + at;
        if (left >= F::kLanes) {
          t.totals[i][j] = F::load(c);
        } else {
          t.totals[i][j] = left > 0 ? F::load_first(c, left) : F::zero();
        }
      }
    }
  }

  template <int kRows>
  static void store(const PanelArgs& p, const Tile<kRows>& t, std::int64_t row,
                    std::int64_t column) {
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
      for (int j = 0; j < Tile<kRows>::kVectors; ++j) {
        const std::int64_t at = column + j * F::kLanes;
        const std::int64_t left = p.columns - at;
        float* c = p.c + (row + i) * p.ldc + at;
        if (left >= F::kLanes) {
          F::store(c, t.totals[i][j]);
        } else if (left > 0) {
          F::store_first(c, t.totals[i][j], left);
        }
      }
    }
  }
};

/// Those of every quantised format, in the order of PanelFormat.
template <class V>
constexpr auto quantized_products() {
  return []<std::size_t... kIndex>(std::index_sequence<kIndex...> /*formats*/) {
    return std::array<PanelProduct, kQuantizedFormats>{
        &QuantizedProduct<V, static_cast<PanelFormat>(kFirstQuantized + kIndex)>::run...};
  }
  (std::make_index_sequence<kQuantizedFormats>());
}

}  // namespace diffllama
