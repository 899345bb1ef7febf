#pragma once

#include <cstdint>

namespace diffllama {

/// Dot of quantized_product.h for quants of any width where there is vpdpbusd, V::dpbusd: sums in
/// 32 bits from the start.
template <class V>
class VnniDot {
 public:
  static constexpr bool kSigned = false;

  void start(std::int32_t x) { sums_ = V::set(x); }
  template <int kGroup>
  void add(typename V::Bytes weights, typename V::Bytes row) {
    sums_ = V::dpbusd(sums_, weights, row);
  }
  typename V::Sums total() const { return sums_; }

 private:
  typename V::Sums sums_;
};

}  // namespace diffllama
