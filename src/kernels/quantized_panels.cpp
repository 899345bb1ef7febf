#include "kernels/quantized_panels.h"

#include <cassert>
#include <cstring>

#include "tensor/half.h"

namespace diffllama {
namespace {

constexpr std::size_t kHalfBytes = 2;

/// Scale, and minimum where there is one: they come first, in files and in panels.
std::size_t block_halves(PanelFormat format) { return format == PanelFormat::q4_1 ? 2 : 1; }

std::size_t block_bytes(PanelFormat format) {
  return block_halves(format) * kHalfBytes + (format == PanelFormat::q8_0 ? 32 : 16);
}

}  // namespace

bool is_quantized(PanelFormat format) {
  return format == PanelFormat::q8_0 || format == PanelFormat::q4_0 || format == PanelFormat::q4_1;
}

std::size_t quantized_step_bytes(PanelFormat format) {
  return block_bytes(format) * static_cast<std::size_t>(kPanelColumns);
}

void pack_blocks(PanelFormat format, std::span<const std::byte> row, std::int64_t column,
                 std::byte* panel) {
  constexpr auto kColumns = static_cast<std::size_t>(kPanelColumns);
  const auto j = static_cast<std::size_t>(column);
  const std::size_t size = block_bytes(format);
  const std::size_t halves = block_halves(format);
  assert(row.size() % size == 0);
  for (std::size_t block = 0; block < row.size() / size; ++block) {
    const std::byte* from = row.data() + block * size;
    std::byte* to = panel + block * quantized_step_bytes(format);
    for (std::size_t half = 0; half < halves; ++half) {
      std::memcpy(to + (half * kColumns + j) * kHalfBytes, from + half * kHalfBytes, kHalfBytes);
    }
    from += halves * kHalfBytes;
    to += halves * kHalfBytes * kColumns + j;
    if (format == PanelFormat::q8_0) {
      for (std::size_t t = 0; t < 32; ++t) to[t * kColumns] = from[t];
      continue;
    }
    // Files pair t with t + 16 in a byte, panels an even t with the next.
    const auto quant = [from](std::size_t t) {
      return t < 16 ? from[t] & std::byte{15} : from[t - 16] >> 4;
    };
    for (std::size_t t = 0; t < 32; t += 2) to[t / 2 * kColumns] = quant(t) | quant(t + 1) << 4;
  }
}

float quantized_value(PanelFormat format, const std::byte* panel, std::int64_t column,
                      std::int64_t t) {
  const std::byte* step =
      panel + static_cast<std::size_t>(t / kQuantBlock) * quantized_step_bytes(format);
  const auto half = [&](std::int64_t index) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, step + 2 * (index * kPanelColumns + column), sizeof(bits));
    return float16_to_float(bits);
  };
  const std::byte* quants =
      step + block_halves(format) * kHalfBytes * static_cast<std::size_t>(kPanelColumns);
  const std::int64_t in_block = t % kQuantBlock;
  if (format == PanelFormat::q8_0) {
    const auto quant = static_cast<std::int8_t>(quants[in_block * kPanelColumns + column]);
    return half(0) * static_cast<float>(quant);
  }
  const int pair = std::to_integer<int>(quants[in_block / 2 * kPanelColumns + column]);
  const int quant = in_block % 2 == 0 ? pair & 15 : pair >> 4;
  if (format == PanelFormat::q4_0) return half(0) * static_cast<float>(quant - 8);
  return half(0) * static_cast<float>(quant) + half(1);
}

}  // namespace diffllama
