#pragma once

#include <cstddef>
#include <cstdint>

namespace diffllama {

/// The quants of a row's step, broadcast from where they lie: a RowStep of quantized_product.h over
/// V, the int8 arithmetic of an ISA.
template <class V>
class QuantizedRowStep {
 public:
  void set(const std::int8_t* quants) { quants_ = quants; }
  auto group(std::ptrdiff_t g) const { return V::broadcast(quants_ + 4 * g); }

 private:
  const std::int8_t* quants_;
};

}  // namespace diffllama
