#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace diffllama {

/// A number as JSON writes it, exactly: 0.d1d2d3... 10^exponent. Equal numbers are equal here,
/// however they are written; doubles would take neighbours past 2^53 for one.
struct Decimal {
  bool negative = false;
  std::string digits = {};  // without zeros at either end; none: 0
  std::int64_t exponent = 0;

  /// Of the text of a JSON number.
  static Decimal of(std::string_view text);
  bool is_integer() const { return exponent >= static_cast<std::int64_t>(digits.size()); }
  bool operator<(const Decimal& other) const;
  bool operator>(const Decimal& other) const { return other < *this; }
  bool operator==(const Decimal&) const = default;
};

}  // namespace diffllama
