#include "kernels/cpu/panel_kernels.h"
#include "kernels/cpu/quantized_product.h"
#include "kernels/cpu/tile_product.h"
#include "kernels/cpu/x86/int8_avx2.h"
#include "kernels/cpu/x86/vector_avx2.h"

namespace diffllama {
namespace {

constexpr PanelProduct kPairs = tile_product<Avx2, Bfloat16RowsStep<Avx2>>;

}  // namespace

PanelKernels avx2_panel_kernels() {
  return {.float32 = tile_product<Avx2, Float32Step<Avx2>>,
          .float16 = tile_product<Avx2, Float16Step<Avx2>>,
          .bfloat16 = tile_product<Avx2, Bfloat16Step<Avx2>>,
          .bfloat16_pairs = kPairs,
          .quantized = quantized_products<Int8Avx2>()};
}

}  // namespace diffllama
