#include "model/cache_panels.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/elementwise.h"
#include "kernels/panel_product.h"
#include "tensor/half.h"

namespace diffllama {
namespace {

constexpr std::int64_t kColumns = kPanelColumns;
constexpr std::int64_t kStep = kCacheStep;
constexpr std::int64_t kStepBytes = kCacheStepBytes;

using Rows = std::span<const float* const>;

std::uint32_t pair_of(std::uint16_t even, std::uint16_t odd) {
  return even | static_cast<std::uint32_t>(odd) << 16;
}

/// 32 values as q * scale: the scale is rounded to float16 first, so that the quants fit the scale
/// that is stored. Infinity and NaN make all of them NaN. Values past n are 0.
std::uint16_t quantize(const float* x, std::int64_t n, std::int8_t* q) {
  constexpr float kLargestFloat16 = 65504.0F;
  float largest = 0;
  bool finite = true;
  for (std::int64_t i = 0; i < n; ++i) {
    finite = finite && std::abs(x[i]) <= std::numeric_limits<float>::max();
    largest = std::max(largest, std::abs(x[i]));
  }
  if (!finite) {
    std::memset(q, 1, kStep);
    return float_to_float16(std::numeric_limits<float>::quiet_NaN());
  }
  const std::uint16_t scale = float_to_float16(std::min(largest / 127.0F, kLargestFloat16));
  const float step = float16_to_float(scale);
  const float inverse = step == 0 ? 0.0F : 1.0F / step;
  std::memset(q, 0, kStep);
  for (std::int64_t i = 0; i < n; ++i) {
    // Adding 1.5 * 2^23 leaves a whole number, rounded to nearest even.
    const float bounded = std::clamp(x[i] * inverse, -127.0F, 127.0F);
    q[i] = static_cast<std::int8_t>(static_cast<int>((bounded + 0x1.8p23F) - 0x1.8p23F));
  }
  return scale;
}

void write_key_pairs(std::uint32_t* panel, std::int64_t column, Rows rows, std::int64_t d) {
  std::array<std::array<std::uint16_t, kStep>, kColumns> rounded = {};
  for (std::int64_t t = 0; t < d; t += kStep) {
    const std::int64_t depth = std::min(kStep, d - t);
    for (std::size_t j = 0; j < rows.size(); ++j) {
      to_bfloat16(rows[j] + t, rounded[j].data(), depth);
    }
    for (std::size_t i = 0; 2 * i < static_cast<std::size_t>(depth); ++i) {
      std::uint32_t* const out = panel + (t / 2 + static_cast<std::int64_t>(i)) * kColumns + column;
      for (std::size_t j = 0; j < rows.size(); ++j) {
        out[j] = pair_of(rounded[j][2 * i], rounded[j][2 * i + 1]);
      }
    }
  }
}

void write_key_quants(std::byte* panel, std::int64_t column, Rows rows, std::int64_t d) {
  for (std::int64_t t = 0; t < d; t += kStep) {
    std::byte* const step = panel + t / kStep * kStepBytes;
    for (std::size_t j = 0; j < rows.size(); ++j) {
      std::array<std::int8_t, kStep> quants;
      const std::int64_t at = column + static_cast<std::int64_t>(j);
      const std::uint16_t scale = quantize(rows[j] + t, std::min(kStep, d - t), quants.data());
      std::memcpy(step + 2 * at, &scale, sizeof(scale));
      for (std::int64_t i = 0; i < kStep; ++i) {
        step[2 * kStep + i * kColumns + at] =
            static_cast<std::byte>(quants[static_cast<std::size_t>(i)]);
      }
    }
  }
}

void write_value_pairs(std::uint16_t* panel, std::int64_t slot, Rows rows, std::int64_t columns) {
  std::array<std::array<std::uint16_t, kColumns>, 2> rounded = {};
  for (std::size_t j = 0; j < rows.size();) {
    const std::int64_t at = slot + static_cast<std::int64_t>(j);
    to_bfloat16(rows[j], rounded[0].data(), columns);
    std::uint16_t* const pairs = panel + at / 2 * kColumns * 2;
    if (at % 2 == 0 && j + 1 < rows.size()) {
      to_bfloat16(rows[j + 1], rounded[1].data(), columns);
      std::array<std::uint32_t, kColumns> both;
      for (std::size_t c = 0; c < kColumns; ++c) both[c] = pair_of(rounded[0][c], rounded[1][c]);
      std::memcpy(pairs, both.data(), sizeof(both));
      j += 2;
    } else {
      for (std::int64_t c = 0; c < columns; ++c) {
        pairs[2 * c + at % 2] = rounded[0][static_cast<std::size_t>(c)];
      }
      ++j;
    }
  }
}

void write_value_quants(std::byte* panel, std::int64_t slot, Rows rows, std::int64_t columns) {
  std::byte* const step = panel + slot / kStep * kStepBytes;
  for (const float* row : rows) {
    std::array<std::int8_t, kColumns> quants;
    const std::uint16_t scale = quantize(row, columns, quants.data());
    std::memcpy(step + 2 * (slot % kStep), &scale, sizeof(scale));
    std::memcpy(step + 2 * kStep + slot % kStep * kColumns, quants.data(), sizeof(quants));
    ++slot;
  }
}

}  // namespace

void write_key_panel(CacheType type, std::byte* panel, std::int64_t column, Rows rows,
                     std::int64_t d) {
  assert(column + std::ssize(rows) <= kColumns);
  if (type == CacheType::q8_0) return write_key_quants(panel, column, rows, d);
  if (type == CacheType::bf16) {
    return write_key_pairs(reinterpret_cast<std::uint32_t*>(panel), column, rows, d);
  }
  auto* const out = reinterpret_cast<float*>(panel) + column;
  for (std::int64_t t = 0; t < d; ++t) {
    for (std::size_t j = 0; j < rows.size(); ++j) {
      out[t * kColumns + static_cast<std::int64_t>(j)] = rows[j][t];
    }
  }
}

void write_value_panel(CacheType type, std::byte* panel, std::int64_t slot, Rows rows,
                       std::int64_t columns) {
  assert(slot % kStep + std::ssize(rows) <= kStep && columns <= kColumns);
  if (type == CacheType::q8_0) return write_value_quants(panel, slot, rows, columns);
  if (type == CacheType::bf16) {
    return write_value_pairs(reinterpret_cast<std::uint16_t*>(panel), slot, rows, columns);
  }
  auto* out = reinterpret_cast<float*>(panel) + slot * kColumns;
  for (const float* row : rows) {
    std::copy_n(row, columns, out);
    out += kColumns;
  }
}

void clear_value_panel(CacheType type, std::byte* panel, std::int64_t first, std::int64_t end) {
  const std::array<float, kColumns> zeros = {};
  for (std::int64_t slot = first; slot < end; ++slot) {
    const float* const row = zeros.data();
    write_value_panel(type, panel, slot, {&row, 1}, kColumns);
  }
}

}  // namespace diffllama
