#include "kernels/panel_product.h"

#include <string>

#include "diffllama/error.h"
#include "kernels/cpu/panel_kernels.h"
#include "kernels/quantized_panels.h"

namespace diffllama {
namespace {

PanelKernels kernels_of(Isa isa) {
  switch (isa) {
    case Isa::portable:
      return portable_panel_kernels();
    case Isa::avx2:
      return avx2_panel_kernels();
    case Isa::avx512:
      return avx512_panel_kernels();
    case Isa::amx:
      return amx_panel_kernels();
  }
  return {};
}

PanelProduct choose(const PanelKernels& kernels, PanelFormat format, ProductType type) {
  const bool wide = type == ProductType::float32;
  switch (format) {
    case PanelFormat::float32:
      return wide ? kernels.float32 : nullptr;
    case PanelFormat::float16:
      return wide ? kernels.float16 : nullptr;
    case PanelFormat::bfloat16:
      return wide ? kernels.bfloat16 : kernels.bfloat16_pairs;
    case PanelFormat::q8_0:
      return wide ? nullptr : kernels.q8_0;
    case PanelFormat::q4_0:
      return wide ? nullptr : kernels.q4_0;
    case PanelFormat::q4_1:
      return wide ? nullptr : kernels.q4_1;
  }
  return nullptr;
}

}  // namespace

std::int64_t padded_depth(PanelFormat format, std::int64_t k) {
  const bool exact = format == PanelFormat::float32 || format == PanelFormat::float16;
  return exact ? k : (k + 31) / 32 * 32;
}

std::size_t panel_bytes(PanelFormat format, std::int64_t k) {
  if (is_quantized(format)) {
    return static_cast<std::size_t>(padded_depth(format, k) / kQuantBlock) *
           quantized_step_bytes(format);
  }
  const std::size_t element = format == PanelFormat::float32 ? 4 : 2;
  return static_cast<std::size_t>(padded_depth(format, k) * kPanelColumns) * element;
}

PanelProduct panel_product(PanelFormat format, ProductType type, Isa isa) {
  PanelProduct product = choose(kernels_of(isa), format, type);
  if (product == nullptr) {
    throw InvalidArgument(
        "panel_product: expected float32 compute with float32, float16 or bfloat16 panels, or "
        "bfloat16 compute with bfloat16 or quantised ones, got format " +
        std::to_string(static_cast<int>(format)) + " and " +
        (type == ProductType::float32 ? "float32" : "bfloat16") + " compute on " +
        std::string(isa_name(isa)));
  }
  return product;
}

}  // namespace diffllama
