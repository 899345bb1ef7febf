#include "generation/constraints/decimal.h"

#include <algorithm>
#include <charconv>

namespace diffllama {
namespace {

constexpr std::int64_t kMostExponent = 1'000'000'000'000;  // texts are shorter than that

int sign_of(const Decimal& number) {
  if (number.digits.empty()) return 0;
  return number.negative ? -1 : 1;
}

}  // namespace

Decimal Decimal::of(std::string_view text) {
  Decimal number;
  number.negative = text.starts_with('-');
  const std::size_t e = std::min(text.find_first_of("eE"), text.size());
  if (e < text.size()) {
    std::string_view power = text.substr(e + 1);
    if (power.starts_with('+')) power.remove_prefix(1);
    const auto [end, error] =
        std::from_chars(power.data(), power.data() + power.size(), number.exponent);
    const bool below = power.starts_with('-');
    if (error != std::errc()) number.exponent = below ? -kMostExponent : kMostExponent;
    number.exponent = std::clamp(number.exponent, -kMostExponent, kMostExponent);
  }
  bool behind_point = false;
  for (const char c : text.substr(0, e)) {
    if (c == '.') behind_point = true;
    if (c < '0' || c > '9') continue;
    if (!behind_point) ++number.exponent;
    if (c == '0' && number.digits.empty()) {
      --number.exponent;  // stands for nothing before the first other digit
    } else {
      number.digits += c;
    }
  }
  number.digits.erase(number.digits.find_last_not_of('0') + 1);
  return number.digits.empty() ? Decimal() : number;
}

bool Decimal::operator<(const Decimal& other) const {
  const int sign = sign_of(*this);
  if (sign != sign_of(other)) return sign < sign_of(other);
  const Decimal& low = sign < 0 ? other : *this;  // by size, of negative numbers the other way
  const Decimal& high = sign < 0 ? *this : other;
  if (low.exponent != high.exponent) return low.exponent < high.exponent;
  return low.digits.compare(high.digits) < 0;
}

}  // namespace diffllama
