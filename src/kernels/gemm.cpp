#include "kernels/gemm.h"

#include <algorithm>
#include <string>

#include "diffllama/error.h"
#include "kernels/cpu/onednn_gemm.h"

namespace diffllama {
namespace {

/// How C is cut; rows and columns of a tile.
struct Tiling {
  std::int64_t rows, columns;
};

std::int64_t divide_up(std::int64_t x, std::int64_t by) { return (x + by - 1) / by; }

/// From m, n and k alone. Tiles of up to 512 x 1024, where oneDNN is near its best; then an even
/// number of them, and 8 at least, as long as each keeps its thread busy for about a tenth of a
/// millisecond. Tiles begin at multiples of 16 columns, so threads share no cache line of an
/// aligned C.
Tiling tiling(std::int64_t m, std::int64_t n, std::int64_t k) {
  constexpr std::int64_t kRows = 512;
  constexpr std::int64_t kColumns = 1024;
  constexpr std::int64_t kEnoughTiles = 8;
  constexpr std::int64_t kSmallestSide = 128;
  constexpr double kWork = 1 << 24;  // of a tile that is worth cutting
  std::int64_t down = divide_up(m, kRows);
  std::int64_t across = divide_up(n, kColumns);
  const double work = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  for (;;) {
    const std::int64_t rows = divide_up(m, down);
    const std::int64_t columns = divide_up(n, across);
    const std::int64_t tiles = down * across;
    if ((tiles >= kEnoughTiles && tiles % 2 == 0) || work < kWork * static_cast<double>(tiles) ||
        std::max(rows, columns) < kSmallestSide) {
      return {divide_up(rows, 8) * 8, divide_up(columns, 16) * 16};
    }
    (columns >= rows ? across : down) *= 2;
  }
}

void require(const char* name, std::int64_t value, std::int64_t least) {
  if (value >= least) return;
  throw InvalidArgument("[gemm] expected " + std::string(name) + " of at least " +
                        std::to_string(least) + ", got " + std::to_string(value));
}

void check(ProductType type, const GemmArgs& args) {
  if (type != ProductType::float32 && type != ProductType::bfloat16) {
    throw InvalidArgument("[gemm] expected float32 or bfloat16, got another type");
  }
  require("m", args.m, 0);
  require("n", args.n, 0);
  require("k", args.k, 0);
  require("lda", args.lda, args.transpose_a ? args.m : args.k);
  require("ldb", args.ldb, args.transpose_b ? args.k : args.n);
  require("ldc", args.ldc, args.n);
}

void compute_tile(ProductType type, const GemmArgs& tile) {
  const OneDnnInThisThread guard;
  if (type == ProductType::float32) {
    onednn_float32_tile(tile);
  } else if (!onednn_matmul_tile(type, tile)) {
    onednn_widened_tile(tile);
  }
}

/// Tile number `index`, row by row of tiles.
GemmArgs tile_of(ProductType type, const GemmArgs& args, const Tiling& cut, std::int64_t index) {
  const std::int64_t across = divide_up(args.n, cut.columns);
  const std::int64_t row = index / across * cut.rows;
  const std::int64_t column = index % across * cut.columns;
  const std::int64_t bytes = type == ProductType::float32 ? 4 : 2;
  GemmArgs tile = args;
  tile.m = std::min(cut.rows, args.m - row);
  tile.n = std::min(cut.columns, args.n - column);
  tile.a = static_cast<const std::byte*>(args.a) + row * (args.transpose_a ? 1 : args.lda) * bytes;
  tile.b =
      static_cast<const std::byte*>(args.b) + column * (args.transpose_b ? args.ldb : 1) * bytes;
  tile.c = args.c + row * args.ldc + column;
  return tile;
}

/// True when nothing is left to compute.
bool nothing_to_sum(const GemmArgs& args) {
  if (args.m == 0 || args.n == 0) return true;
  if (args.k > 0) return false;
  if (!args.accumulate) {
    for (std::int64_t i = 0; i < args.m; ++i) std::fill_n(args.c + i * args.ldc, args.n, 0.0F);
  }
  return true;
}

template <class Run>
void run_tiles(ProductType type, const GemmArgs& args, const Run& run) {
  check(type, args);
  if (nothing_to_sum(args)) return;
  const Tiling cut = tiling(args.m, args.n, args.k);
  const std::int64_t tiles = divide_up(args.m, cut.rows) * divide_up(args.n, cut.columns);
  run(tiles, [&](std::int64_t tile, int) { compute_tile(type, tile_of(type, args, cut, tile)); });
}

}  // namespace

void gemm(ProductType type, const GemmArgs& args, const Parallel& parallel) {
  run_tiles(type, args, [&](std::int64_t tiles, const auto& body) { parallel.run(tiles, body); });
}

void gemm(ProductType type, const GemmArgs& args) {
  run_tiles(type, args, [](std::int64_t tiles, const auto& body) {
    for (std::int64_t tile = 0; tile < tiles; ++tile) body(tile, 0);
  });
}

}  // namespace diffllama
