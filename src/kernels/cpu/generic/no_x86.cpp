#include "kernels/cpu/detect.h"
#include "kernels/cpu/gradient_kernels.h"
#include "kernels/cpu/panel_kernels.h"
#include "kernels/cpu/row_kernels.h"

// Stands in for x86/ on other machines.
namespace diffllama {

std::vector<Isa> detect_isas() { return {Isa::portable}; }

PanelKernels avx2_panel_kernels() { return {}; }
PanelKernels avx_vnni_panel_kernels() { return {}; }
PanelKernels avx512_vnni_panel_kernels() { return {}; }
PanelKernels avx512_panel_kernels() { return {}; }
PanelKernels amx_panel_kernels() { return {}; }

RowKernels avx2_row_kernels() { return portable_row_kernels(); }
RowKernels avx512_vnni_row_kernels() { return portable_row_kernels(); }
RowKernels avx512_row_kernels() { return portable_row_kernels(); }

GradientKernels avx2_gradient_kernels() { return portable_gradient_kernels(); }
GradientKernels avx512_gradient_kernels() { return portable_gradient_kernels(); }

}  // namespace diffllama
