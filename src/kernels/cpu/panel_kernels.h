#pragma once

#include "kernels/panel_product.h"

namespace diffllama {

/// The panel products of one ISA, by format of the panels; null where it has none.
struct PanelKernels {
  PanelProduct float32 = nullptr;
  PanelProduct float16 = nullptr;
  PanelProduct bfloat16 = nullptr;        // computing in float32
  PanelProduct bfloat16_pairs = nullptr;  // computing in bfloat16
  PanelProduct q8_0 = nullptr;
  PanelProduct q4_0 = nullptr;
  PanelProduct q4_1 = nullptr;
};

PanelKernels portable_panel_kernels();
PanelKernels avx2_panel_kernels();
PanelKernels avx512_panel_kernels();
PanelKernels amx_panel_kernels();

}  // namespace diffllama
