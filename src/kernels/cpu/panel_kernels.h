#pragma once

#include <array>
#include <cstddef>

#include "kernels/panel_product.h"

namespace diffllama {

inline constexpr auto kFirstQuantized = static_cast<std::size_t>(PanelFormat::q8_0);
inline constexpr std::size_t kQuantizedFormats =
    static_cast<std::size_t>(PanelFormat::q6_k) - kFirstQuantized + 1;

/// The panel products of one ISA, by format of the panels; null where it has none.
struct PanelKernels {
  PanelProduct float32 = nullptr;
  PanelProduct float16 = nullptr;
  PanelProduct bfloat16 = nullptr;                             // computing in float32
  PanelProduct bfloat16_pairs = nullptr;                       // computing in bfloat16
  std::array<PanelProduct, kQuantizedFormats> quantized = {};  // in the order of PanelFormat
};

PanelKernels portable_panel_kernels();
PanelKernels avx2_panel_kernels();
PanelKernels avx_vnni_panel_kernels();
PanelKernels avx512_vnni_panel_kernels();
PanelKernels avx512_panel_kernels();
PanelKernels amx_panel_kernels();

}  // namespace diffllama
