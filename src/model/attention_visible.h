#pragma once

#include <cstdint>
#include <functional>

#include "base/buffer.h"
#include "kernels/panel_product.h"

namespace diffllama {

/// Products of weights with values of which some rows may not see all. A weight of zero hides a
/// value that is finite; zero times NaN or infinity is NaN.

/// Whether slots [first, end) of the reduction hold NaN or infinity in the panels of a product, of
/// float32 or bfloat16.
bool holds_nonfinite(const PanelArgs& args, PanelFormat format, std::int64_t first,
                     std::int64_t end);

/// The product in `type`, `group` rows at a time, each with a copy of the panels that has zeros in
/// the slots s with !sees(first row, s): the same additions as with finite values there.
void multiply_visible(const PanelArgs& args, PanelFormat format, ProductType type,
                      std::int64_t group,
                      const std::function<bool(std::int64_t row, std::int64_t slot)>& sees,
                      Buffer<std::byte>& scratch);

}  // namespace diffllama
