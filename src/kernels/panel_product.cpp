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
    case Isa::avx_vnni:
      return avx_vnni_panel_kernels();
    case Isa::avx512_vnni:
      return avx512_vnni_panel_kernels();
    case Isa::avx512:
      return avx512_panel_kernels();
    case Isa::amx:
      return amx_panel_kernels();
  }
  return {};
}

PanelProduct choose(const PanelKernels& kernels, PanelFormat format, ProductType type) {
  if (is_quantized(format)) {
    const auto index = static_cast<std::size_t>(format) - kFirstQuantized;
    return type == ProductType::int8 ? kernels.quantized[index] : nullptr;
  }
  if (type == ProductType::bfloat16) {
    return format == PanelFormat::bfloat16 ? kernels.bfloat16_pairs : nullptr;
  }
  if (type == ProductType::int8) return nullptr;
  switch (format) {
    case PanelFormat::float32:
      return kernels.float32;
    case PanelFormat::float16:
      return kernels.float16;
    default:
      return kernels.bfloat16;
  }
}

constexpr const char* name(ProductType type) {
  switch (type) {
    case ProductType::float32:
      return "float32";
    case ProductType::bfloat16:
      return "bfloat16";
    default:
      return "int8";
  }
}

}  // namespace

const char* panel_format_name(PanelFormat format) {
  constexpr const char* kNames[] = {"float32", "float16", "bfloat16", "q8_0", "q4_0", "q4_1",
                                    "q5_0",    "q5_1",    "q4_k",     "q5_k", "q6_k"};
  return kNames[static_cast<std::size_t>(format)];
}

std::int64_t padded_depth(PanelFormat format, std::int64_t k) {
  const bool exact = format == PanelFormat::float32 || format == PanelFormat::float16;
  return exact ? k : (k + 31) / 32 * 32;
}

std::size_t panel_bytes(PanelFormat format, std::int64_t k) {
  if (is_quantized(format)) {
    const QuantLayout layout = quant_layout(format);
    return static_cast<std::size_t>(k / layout.block_depth()) * layout.block_bytes();
  }
  const std::size_t element = format == PanelFormat::float32 ? 4 : 2;
  return static_cast<std::size_t>(padded_depth(format, k) * kPanelColumns) * element;
}

PanelProduct panel_product(PanelFormat format, ProductType type, Isa isa) {
  PanelProduct product = choose(kernels_of(isa), format, type);
  if (product == nullptr) {
    throw InvalidArgument(
        "panel_product: expected float32 compute with float32, float16 or bfloat16 panels, "
        "bfloat16 compute with bfloat16 ones, or int8 compute with quantised ones, got format " +
        std::string(panel_format_name(format)) + " and " + name(type) + " compute on " +
        std::string(isa_name(isa)));
  }
  return product;
}

}  // namespace diffllama
