#include "kernels/cpu/expanded_product.h"
#include "kernels/cpu/panel_kernels.h"
#include "kernels/cpu/tile_product.h"
#include "kernels/cpu/x86/vector_avx2.h"

namespace diffllama {
namespace {

constexpr PanelProduct kPairs = tile_product<Avx2, Bfloat16RowsStep<Avx2>>;

template <class Format>
constexpr PanelProduct kExpanded = ExpandedProduct<Format, Expand<Avx2, Format>::step, kPairs>::run;

}  // namespace

PanelKernels avx2_panel_kernels() {
  return {.float32 = tile_product<Avx2, Float32Step<Avx2>>,
          .float16 = tile_product<Avx2, Float16Step<Avx2>>,
          .bfloat16 = tile_product<Avx2, Bfloat16Step<Avx2>>,
          .bfloat16_pairs = kPairs,
          .q8_0 = kExpanded<Q8_0>,
          .q4_0 = kExpanded<Q4_0>,
          .q4_1 = kExpanded<Q4_1>};
}

}  // namespace diffllama
