#include "kernels/reference/panel_product.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/quantized_panels.h"
#include "kernels/quantized_rows.h"
#include "tensor/half.h"

namespace diffllama::reference {

float panel_value(PanelFormat format, const std::byte* panels, std::size_t panel_stride,
                  std::int64_t column, std::int64_t t) {
  const std::byte* panel = panels + static_cast<std::size_t>(column / kPanelColumns) * panel_stride;
  const std::int64_t j = column % kPanelColumns;
  const auto element = [&]<class T>(T value, std::int64_t at) {
    std::memcpy(&value, panel + at * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
    return value;
  };
  switch (format) {
    case PanelFormat::float32:
      return element(0.0F, t * kPanelColumns + j);
    case PanelFormat::float16:
      return float16_to_float(element(std::uint16_t{}, t * kPanelColumns + j));
    case PanelFormat::bfloat16:
      return bfloat16_to_float(element(std::uint16_t{}, (t / 2 * kPanelColumns + j) * 2 + t % 2));
    default:
      return quantized_value(format, panel, j, t);
  }
}

namespace {

// A column of a panel.
struct Column {
  PanelFormat format;
  const std::byte* panel;
  std::int64_t index;
};

// total, and block `from` of the row times block `block` of the weights.
float add_block(const Column& w, std::int64_t block, const QuantizedRow& row, std::int64_t from,
                float total) {
  const std::int64_t depth = w.format == PanelFormat::q6_k ? 16 : 32;  // of a scale
  QuantizedWeight weight = {};
  for (std::int64_t start = 0; start < 32; start += depth) {
    std::int32_t sum = 0;
    for (std::int64_t t = start; t < start + depth; ++t) {
      weight = quantized_weight(w.format, w.panel, w.index, 32 * block + t);
      sum += weight.quant * row.quants()[32 * from + t];
    }
    total = std::fma(static_cast<float>(sum), weight.scale * row.scales()[from], total);
  }
  if (quant_layout(w.format).halves == 2) {
    total = std::fma(weight.minimum, row.scaled_sums()[from], total);
  }
  return total;
}

// One element of an int8 product.
float quantized_product(const Column& w, const QuantizedRow& row) {
  float total = 0.0F;
  for (std::int64_t block = 0; block < row.k / 32; ++block) {
    total = add_block(w, block, row, block, total);
  }
  if (!takes_residuals(w.format)) return total;
  for (std::int64_t i = 0; i < row.residual_count(); ++i) {
    total = add_block(w, row.residual_blocks()[i], row.residual(), i, total);
  }
  return total;
}

}  // namespace

void panel_product(PanelFormat format, ProductType type, const PanelArgs& args) {
  for (std::int64_t i = 0; i < args.m; ++i) {
    for (std::int64_t j = 0; j < args.columns; ++j) {
      if (type == ProductType::int8) {
        const std::byte* panel =
            args.panels + static_cast<std::size_t>(j / kPanelColumns) * args.panel_stride;
        const QuantizedRow row = {static_cast<const std::byte*>(args.a) + i * args.lda, args.k};
        args.c[i * args.ldc + j] = quantized_product({format, panel, j % kPanelColumns}, row);
        continue;
      }
      float total = args.accumulate ? args.c[i * args.ldc + j] : 0.0F;
      for (std::int64_t start = 0; start < args.k; start += kSumBlock) {
        float sum = 0.0F;
        for (std::int64_t t = start; t < std::min(start + kSumBlock, args.k); ++t) {
          const std::int64_t at = i * args.lda + t;
          const float a = type == ProductType::float32
                              ? static_cast<const float*>(args.a)[at]
                              : bfloat16_to_float(static_cast<const std::uint16_t*>(args.a)[at]);
          sum = std::fma(a, panel_value(format, args.panels, args.panel_stride, j, t), sum);
        }
        total = start == 0 && !args.accumulate ? sum : total + sum;
      }
      args.c[i * args.ldc + j] = total;
    }
  }
}

}  // namespace diffllama::reference
