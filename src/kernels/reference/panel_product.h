#pragma once

#include "kernels/panel_product.h"

namespace diffllama::reference {

/// panel_product.h, one output at a time: from zero down k in ascending order, with std::fma. With
/// rows of bfloat16 both factors are widened first; the ISAs' own instructions round in between
/// otherwise, so there it is compared within a tolerance.
void panel_product(PanelFormat format, ProductType type, const PanelArgs& args);

/// w[column][t] of packed panels.
float panel_value(PanelFormat format, const std::byte* panels, std::size_t panel_stride,
                  std::int64_t column, std::int64_t t);

}  // namespace diffllama::reference
