#include "kernels/cpu/generic/int8_portable.h"
#include "kernels/cpu/generic/vector_portable.h"
#include "kernels/cpu/panel_kernels.h"
#include "kernels/cpu/quantized_product.h"
#include "kernels/cpu/tile_product.h"

namespace diffllama {
namespace {

constexpr PanelProduct kPairs = tile_product<Portable, Bfloat16RowsStep<Portable>>;

}  // namespace

PanelKernels portable_panel_kernels() {
  return {.float32 = tile_product<Portable, Float32Step<Portable>>,
          .float16 = tile_product<Portable, Float16Step<Portable>>,
          .bfloat16 = tile_product<Portable, Bfloat16Step<Portable>>,
          .bfloat16_pairs = kPairs,
          .quantized = quantized_products<Int8Portable>()};
}

}  // namespace diffllama
