#include "kernels/cpu/expanded_product.h"
#include "kernels/cpu/generic/vector_portable.h"
#include "kernels/cpu/panel_kernels.h"
#include "kernels/cpu/tile_product.h"

namespace diffllama {
namespace {

constexpr PanelProduct kPairs = tile_product<Portable, Bfloat16RowsStep<Portable>>;

template <class Format>
constexpr PanelProduct kExpanded =
    ExpandedProduct<Format, Expand<Portable, Format>::step, kPairs>::run;

}  // namespace

PanelKernels portable_panel_kernels() {
  return {.float32 = tile_product<Portable, Float32Step<Portable>>,
          .float16 = tile_product<Portable, Float16Step<Portable>>,
          .bfloat16 = tile_product<Portable, Bfloat16Step<Portable>>,
          .bfloat16_pairs = kPairs,
          .q8_0 = kExpanded<Q8_0>,
          .q4_0 = kExpanded<Q4_0>,
          .q4_1 = kExpanded<Q4_1>};
}

}  // namespace diffllama
