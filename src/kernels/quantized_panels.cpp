#include "kernels/quantized_panels.h"

#include <array>
#include <cassert>
#include <cstring>

#include "tensor/half.h"

namespace diffllama {
namespace {

constexpr auto kColumns = static_cast<std::size_t>(kPanelColumns);
using Bytes = const std::uint8_t*;

/// A block as a file has it, taken apart: quants in order, not yet offset.
struct Block {
  std::array<std::uint8_t, 256> quants;
  std::array<std::uint16_t, 2> halves;
  std::array<std::uint8_t, 16> scales;
  std::array<std::uint8_t, 8> minima;
};

std::uint16_t half_at(Bytes at) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof(bits));
  return bits;
}

// 32 quants in 16 bytes: t in the low halves, t + 16 in the high ones; the fifth bits in `high`.
void read_nibbles(Bytes nibbles, std::uint32_t high, std::uint8_t* quants) {
  for (int t = 0; t < 16; ++t) {
    quants[t] = static_cast<std::uint8_t>((nibbles[t] & 15U) | (high >> t & 1U) << 4);
    quants[t + 16] = static_cast<std::uint8_t>(nibbles[t] >> 4 | (high >> (t + 16) & 1U) << 4);
  }
}

void read_small_block(PanelFormat format, Bytes from, Block& block) {
  const QuantLayout layout = quant_layout(format);
  for (int i = 0; i < layout.halves; ++i, from += 2) {
    block.halves[static_cast<std::size_t>(i)] = half_at(from);
  }
  if (layout.quant_bits == 8) {
    for (std::size_t t = 0; t < 32; ++t) {
      block.quants[t] = static_cast<std::uint8_t>(from[t] ^ 0x80U);
    }
    return;
  }
  std::uint32_t high = 0;
  if (layout.high_bits == 1) {
    std::memcpy(&high, from, sizeof(high));
    from += sizeof(high);
  }
  read_nibbles(from, high, block.quants.data());
}

// Eight scales and minima of 6 bits in 12 bytes.
void read_scales_and_minima(Bytes packed, Block& block) {
  for (std::size_t j = 0; j < 4; ++j) {
    block.scales[j] = packed[j] & 63U;
    block.minima[j] = packed[j + 4] & 63U;
    const unsigned both = packed[j + 8];
    block.scales[j + 4] = static_cast<std::uint8_t>((both & 15U) | (packed[j] >> 6) << 4);
    block.minima[j + 4] = static_cast<std::uint8_t>(both >> 4 | (packed[j + 4] >> 6) << 4);
  }
}

// q4_k: d, dmin, scales[12], quants[128]; q5_k has a byte of fifth bits for each of 32 before them.
void read_q4_k_or_q5_k(PanelFormat format, Bytes from, Block& block) {
  block.halves = {half_at(from), half_at(from + 2)};
  read_scales_and_minima(from + 4, block);
  const Bytes high = from + 16;
  const bool fifth = format == PanelFormat::q5_k;
  const Bytes nibbles = fifth ? high + 32 : high;
  for (unsigned step = 0; step < 8; ++step) {
    for (unsigned t = 0; t < 32; ++t) {
      const unsigned nibble = nibbles[step / 2 * 32 + t] >> (step % 2 * 4) & 15U;
      const unsigned bit = fifth ? high[t] >> step & 1U : 0U;
      block.quants[step * 32 + t] = static_cast<std::uint8_t>(nibble | bit << 4);
    }
  }
}

// q6_k: quants[128], high bits[64], scales[16], d.
void read_q6_k(Bytes from, Block& block) {
  const Bytes high = from + 128;
  std::memcpy(block.scales.data(), from + 192, block.scales.size());
  block.halves[0] = half_at(from + 208);
  for (unsigned half = 0; half < 2; ++half) {
    for (unsigned quarter = 0; quarter < 4; ++quarter) {
      for (unsigned t = 0; t < 32; ++t) {
        const unsigned byte = from[half * 64 + quarter % 2 * 32 + t];
        const unsigned nibble = byte >> (quarter / 2 * 4) & 15U;
        const unsigned bits = high[half * 32 + t] >> (quarter * 2) & 3U;
        block.quants[half * 128 + quarter * 32 + t] = static_cast<std::uint8_t>(nibble | bits << 4);
      }
    }
  }
}

void read_block(PanelFormat format, Bytes from, Block& block) {
  switch (format) {
    case PanelFormat::q4_k:
    case PanelFormat::q5_k:
      return read_q4_k_or_q5_k(format, from, block);
    case PanelFormat::q6_k:
      return read_q6_k(from, block);
    default:
      return read_small_block(format, from, block);
  }
}

// Groups of four of k; `to` is the column's place in a part [..][32][4].
void write_quants(const QuantLayout& layout, Bytes quants, std::uint8_t* to) {
  if (layout.quant_bits == 8) {
    for (std::size_t group = 0; group < 8; ++group) {
      std::memcpy(to + group * 4 * kColumns, quants + 4 * group, 4);
    }
    return;
  }
  for (std::size_t pair = 0; pair < 4; ++pair) {
    for (std::size_t i = 0; i < 4; ++i) {
      const unsigned low = quants[8 * pair + i] & 15U;
      const unsigned high = quants[8 * pair + 4 + i] & 15U;
      to[pair * 4 * kColumns + i] = static_cast<std::uint8_t>(low | high << 4);
    }
  }
}

void write_high_bits(const QuantLayout& layout, Bytes quants, std::uint8_t* to) {
  const auto bits = static_cast<std::size_t>(layout.high_bits);
  const std::size_t groups = 8 / bits;  // whose bits share a byte
  for (std::size_t part = 0; part < bits; ++part) {
    for (std::size_t i = 0; i < 4; ++i) {
      unsigned byte = 0;
      for (std::size_t group = 0; group < groups; ++group) {
        const unsigned high = quants[(part * groups + group) * 4 + i] >> 4;
        byte |= high << (group * bits);
      }
      to[part * 4 * kColumns + i] = static_cast<std::uint8_t>(byte);
    }
  }
}

void write_block(const QuantLayout& layout, const Block& block, std::size_t column,
                 std::uint8_t* to) {
  for (std::size_t half = 0; half < static_cast<std::size_t>(layout.halves); ++half) {
    std::memcpy(to + (half * kColumns + column) * 2, &block.halves[half], 2);
  }
  const auto scales = static_cast<std::size_t>(layout.scales);
  to += layout.header_bytes();
  for (std::size_t step = 0; step < static_cast<std::size_t>(layout.steps); ++step) {
    const Bytes quants = block.quants.data() + step * kQuantStep;
    for (std::size_t i = 0; i < scales; ++i) {
      to[i * kColumns + column] = block.scales[step * scales + i];
    }
    if (layout.minima == 1) to[scales * kColumns + column] = block.minima[step];
    if (layout.high_bits > 0) {
      write_high_bits(layout, quants, to + layout.high_offset() + 4 * column);
    }
    write_quants(layout, quants, to + layout.quants_offset() + 4 * column);
    to += layout.step_bytes();
  }
}

}  // namespace

std::size_t file_block_bytes(PanelFormat format) {
  const std::size_t bytes = quant_layout(format).block_bytes() / kColumns;
  const bool wider = format == PanelFormat::q4_k || format == PanelFormat::q5_k;
  return wider ? bytes - 4 : bytes;
}

void pack_blocks(PanelFormat format, std::span<const std::byte> row, std::int64_t column,
                 std::byte* panel) {
  const QuantLayout layout = quant_layout(format);
  const std::size_t size = file_block_bytes(format);
  assert(row.size() % size == 0);
  const auto* from = reinterpret_cast<const std::uint8_t*>(row.data());
  auto* to = reinterpret_cast<std::uint8_t*>(panel);
  Block block;
  for (std::size_t left = row.size() / size; left > 0; --left) {
    read_block(format, from, block);
    write_block(layout, block, static_cast<std::size_t>(column), to);
    from += size;
    to += layout.block_bytes();
  }
}

QuantizedWeight quantized_weight(PanelFormat format, const std::byte* panel, std::int64_t column,
                                 std::int64_t t) {
  const QuantLayout layout = quant_layout(format);
  const auto* block = reinterpret_cast<Bytes>(panel) +
                      static_cast<std::size_t>(t / layout.block_depth()) * layout.block_bytes();
  const auto j = static_cast<std::size_t>(column);
  const auto step_index = static_cast<std::size_t>(t % layout.block_depth() / kQuantStep);
  const Bytes step = block + layout.header_bytes() + step_index * layout.step_bytes();
  const auto in_step = static_cast<std::size_t>(t % kQuantStep);
  const std::size_t group = in_step / 4;
  const std::size_t at = 4 * j + in_step % 4;
  const Bytes quants = step + layout.quants_offset();

  unsigned quant = 0;
  if (layout.quant_bits == 8) {
    quant = quants[group * 4 * kColumns + at];
  } else {
    quant = quants[group / 2 * 4 * kColumns + at] >> (group % 2 * 4) & 15U;
  }
  if (layout.high_bits > 0) {
    const auto bits = static_cast<std::size_t>(layout.high_bits);
    const std::size_t groups = 8 / bits;
    const unsigned byte = step[layout.high_offset() + group / groups * 4 * kColumns + at];
    quant |= (byte >> (group % groups * bits) & ((1U << bits) - 1U)) << 4;
  }

  QuantizedWeight weight = {static_cast<int>(quant) - layout.offset,
                            float16_to_float(half_at(block + 2 * j)), 0.0F};
  const auto half = [&] { return float16_to_float(half_at(block + 2 * (kColumns + j))); };
  if (layout.scales == 2) {
    const auto scale = static_cast<std::int8_t>(step[in_step / 16 * kColumns + j]);
    weight.scale *= static_cast<float>(scale);
  } else if (layout.scales == 1) {
    weight.scale *= static_cast<float>(step[j]);
    weight.minimum = -(half() * static_cast<float>(step[kColumns + j]));
  } else if (layout.halves == 2) {
    weight.minimum = half();
  }
  return weight;
}

float quantized_value(PanelFormat format, const std::byte* panel, std::int64_t column,
                      std::int64_t t) {
  const QuantizedWeight weight = quantized_weight(format, panel, column, t);
  const float product = weight.scale * static_cast<float>(weight.quant);
  return quant_layout(format).halves == 2 ? product + weight.minimum : product;
}

}  // namespace diffllama
