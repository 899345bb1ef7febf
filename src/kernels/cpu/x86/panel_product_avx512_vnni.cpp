#include "kernels/cpu/panel_kernels.h"
#include "kernels/cpu/quantized_product.h"
#include "kernels/cpu/tile_product.h"
#include "kernels/cpu/x86/int8_avx512.h"
#include "kernels/cpu/x86/vector_avx512.h"

namespace diffllama {

PanelKernels avx512_vnni_panel_kernels() {
  return {.float32 = tile_product<Avx512, Float32Step<Avx512>>,
          .float16 = tile_product<Avx512, Float16Step<Avx512>>,
          .bfloat16 = tile_product<Avx512, Bfloat16Step<Avx512>>,
          .bfloat16_pairs = tile_product<Avx512, Bfloat16RowsStep<Avx512>>,
          .quantized = quantized_products<Int8Avx512>()};
}

}  // namespace diffllama
