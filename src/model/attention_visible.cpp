#include "model/attention_visible.h"

#include <algorithm>
#include <cstring>

#include "kernels/isa.h"
#include "model/cache_panels.h"

namespace diffllama {
namespace {

std::int64_t panels_of(const PanelArgs& args) {
  return (args.columns + kPanelColumns - 1) / kPanelColumns;
}

// Whether any of n values has the exponent of NaN and infinity, all bits of kExponent.
template <class Bits, Bits kExponent>
bool any_nonfinite(const std::byte* values, std::int64_t n) {
  constexpr int kWidth = 8 * sizeof(Bits);
  constexpr Bits kMagnitude = static_cast<Bits>(~Bits{0}) >> 1;
  constexpr Bits kAbove =
      kMagnitude + 1 - kExponent;  // from the exponent on it carries to the sign
  Bits all = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    Bits bits = 0;
    std::memcpy(&bits, values + static_cast<std::size_t>(i) * sizeof(Bits), sizeof(bits));
    all = static_cast<Bits>(all | ((bits & kMagnitude) + kAbove));
  }
  return all >> (kWidth - 1) != 0;
}

}  // namespace

bool holds_nonfinite(const PanelArgs& args, PanelFormat format, std::int64_t first,
                     std::int64_t end) {
  for (std::int64_t i = 0; i < panels_of(args); ++i) {
    const std::byte* const panel = args.panels + static_cast<std::size_t>(i) * args.panel_stride;
    bool found = false;
    if (format == PanelFormat::float32) {
      const std::int64_t count = std::max<std::int64_t>(end - first, 0) * kPanelColumns;
      found = any_nonfinite<std::uint32_t, 0x7f800000U>(
          panel + static_cast<std::size_t>(first * kPanelColumns) * sizeof(float), count);
    } else {  // whole pairs of slots
      const std::int64_t pair = first / 2 * 2;
      const std::int64_t count = std::max<std::int64_t>((end + 1) / 2 * 2 - pair, 0);
      found = any_nonfinite<std::uint16_t, 0x7f80U>(
          panel + static_cast<std::size_t>(pair * kPanelColumns) * sizeof(std::uint16_t),
          count * kPanelColumns);
    }
    if (found) return true;
  }
  return false;
}

void multiply_visible(const PanelArgs& args, PanelFormat format, ProductType type,
                      std::int64_t group,
                      const std::function<bool(std::int64_t row, std::int64_t slot)>& sees,
                      Buffer<std::byte>& scratch) {
  const std::size_t element = type == ProductType::float32 ? sizeof(float) : sizeof(std::uint16_t);
  const CacheType stored = format == PanelFormat::float32 ? CacheType::f32 : CacheType::bf16;
  const std::size_t size = panel_bytes(format, args.k);
  std::byte* const visible = scratch.reserve(size * static_cast<std::size_t>(panels_of(args)));
  const PanelProduct multiply = panel_product(format, type, active_isa());
  PanelArgs part = args;
  part.panels = visible;
  part.panel_stride = size;
  part.m = group;
  for (std::int64_t row = 0; row < args.m; row += group) {
    for (std::int64_t i = 0; i < panels_of(args); ++i) {
      std::byte* const panel = visible + static_cast<std::size_t>(i) * size;
      std::memcpy(panel, args.panels + static_cast<std::size_t>(i) * args.panel_stride, size);
      for (std::int64_t slot = 0; slot < padded_depth(format, args.k); ++slot) {
        if (!sees(row, slot)) clear_value_panel(stored, panel, slot, slot + 1);
      }
    }
    part.c = args.c + row * args.ldc;
    part.a =
        static_cast<const std::byte*>(args.a) + static_cast<std::size_t>(row * args.lda) * element;
    multiply(part);
  }
}

}  // namespace diffllama
