#include "generation/constraints/json_number.h"

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <utility>

namespace diffllama {
namespace {

using Expression = Grammar::Expression;

constexpr int kDigits = 15;
constexpr std::int64_t kLimit = 999'999'999'999'999;  // kDigits nines

// A number times 10^places, rounded up or down to an integer; cut to +-kLimit, which is past every
// number that is written. `exact`: nothing was rounded.
struct Scaled {
  std::int64_t value = 0;
  bool exact = true;
};

Scaled scale(const Decimal& number, int places, bool up) {
  const std::string& digits = number.digits;
  const bool negative = number.negative;
  if (digits.empty()) return {};
  // The integer part of the number times 10^places has so many digits.
  const std::int64_t whole = number.exponent + places;
  if (whole > kDigits) return {.value = negative ? -kLimit - 1 : kLimit + 1, .exact = true};
  const std::int64_t size = std::ssize(digits);
  std::int64_t value = 0;
  for (std::int64_t i = 0; i < whole; ++i) {
    value = value * 10 + (i < size ? digits[static_cast<std::size_t>(i)] - '0' : 0);
  }
  const bool rest = size > whole;  // the last digit is no 0
  if (rest && up != negative) ++value;
  return {.value = negative ? -value : value, .exact = !rest};
}

// Digits between two of the same length, from the first place on.
class Range {
 public:
  /// Numbers from low to high (0 <= low <= high), `whole` digits of which stand before the point;
  /// the zeros at the end of the `places` behind it may be left out.
  Range(Grammar& grammar, std::string low, std::string high, int whole)
      : grammar_(grammar), low_(std::move(low)), high_(std::move(high)), whole_(whole) {}

  Expression expression() { return from(0, true, true); }

 private:
  // at_low: the digits so far are low's, so the next must not be less.
  Expression from(int place, bool at_low, bool at_high) {
    const auto key = std::tuple(place, at_low, at_high);
    if (const auto known = made_.find(key); known != made_.end()) return known->second;
    const int size = static_cast<int>(low_.size());
    std::vector<Expression> choices;
    if (place >= whole_ && ends_at(place, at_low)) choices.push_back(grammar_.text(""));
    if (place < size) {
      Expression next = digits(place, at_low, at_high);
      if (place == whole_) next = grammar_.sequence({grammar_.text("."), next});
      choices.push_back(next);
    }
    return made_[key] = grammar_.alternatives(std::move(choices));
  }
  // With zeros in the places that are left the number is not below low.
  bool ends_at(int place, bool at_low) const {
    return !at_low ||
           low_.find_first_not_of('0', static_cast<std::size_t>(place)) == std::string::npos;
  }
  Expression digits(int place, bool at_low, bool at_high) {
    const auto at = static_cast<std::size_t>(place);
    const char first = at_low ? low_[at] : '0', last = at_high ? high_[at] : '9';
    std::vector<Expression> choices;
    const auto add = [&](char a, char b, bool low, bool high) {
      if (a > b) return;
      const auto set = CodePoints::of(static_cast<char32_t>(a), static_cast<char32_t>(b));
      choices.push_back(grammar_.sequence({grammar_.characters(set), from(place + 1, low, high)}));
    };
    if (at_low && at_high && first == last) {
      add(first, last, true, true);
    } else {
      if (at_low) add(first, first, true, false);
      add(static_cast<char>(first + (at_low ? 1 : 0)), static_cast<char>(last - (at_high ? 1 : 0)),
          false, false);
      if (at_high) add(last, last, false, true);
    }
    return grammar_.alternatives(std::move(choices));
  }

  Grammar& grammar_;
  std::string low_, high_;
  int whole_;
  std::map<std::tuple<int, bool, bool>, Expression> made_;
};

std::string padded(std::int64_t value, std::size_t size) {
  std::string text = std::to_string(value);
  return std::string(size - std::min(size, text.size()), '0') + text;
}

std::int64_t power_of_ten(int exponent) {
  std::int64_t value = 1;
  for (int i = 0; i < exponent; ++i) value *= 10;
  return value;
}

// Numbers >= 0 that times 10^places are in low..high.
Expression not_negative(Grammar& grammar, std::int64_t low, std::int64_t high, int places) {
  std::vector<Expression> choices;
  for (int whole = 1; whole + places <= kDigits; ++whole) {
    // All numbers with so many digits before the point, which do not begin with 0 but in 0 itself.
    const std::int64_t first = whole == 1 ? 0 : power_of_ten(whole - 1 + places);
    const std::int64_t last = power_of_ten(whole + places) - 1;
    const std::int64_t a = std::max(low, first), b = std::min(high, last);
    if (a > b) continue;
    const auto size = static_cast<std::size_t>(whole) + static_cast<std::size_t>(places);
    choices.push_back(Range(grammar, padded(a, size), padded(b, size), whole).expression());
  }
  return grammar.alternatives(std::move(choices));
}

int whole_digits(const Decimal& value) {
  return static_cast<int>(std::clamp<std::int64_t>(value.exponent, 1, kDigits));
}

}  // namespace

void NumberBounds::at_least(const Decimal& value, bool above) {
  if (least && (value < *least || (value == *least && !above))) return;
  least = value;
  above_least = above;
}
void NumberBounds::at_most(const Decimal& value, bool below) {
  if (most && (value > *most || (value == *most && !below))) return;
  most = value;
  below_most = below;
}
bool NumberBounds::holds(const Decimal& value) const {
  if (integer && !value.is_integer()) return false;
  if (least && (value < *least || (above_least && value == *least))) return false;
  return !(most && (value > *most || (below_most && value == *most)));
}

Expression json_number(Grammar& grammar, const NumberBounds& bounds) {
  const Expression digit = grammar.characters(CodePoints::of('0', '9'));
  if (!bounds.least && !bounds.most) {
    const Expression whole = grammar.alternatives(
        {grammar.text("0"), grammar.sequence({grammar.characters(CodePoints::of('1', '9')),
                                              grammar.repeat(digit, 0, kDigits - 1)})});
    std::vector<Expression> parts = {grammar.optional(grammar.text("-")), whole};
    if (!bounds.integer) {
      CodePoints e = CodePoints::of('e', 'e'), sign = CodePoints::of('+', '+');
      e.add('E', 'E');
      sign.add('-', '-');
      parts.push_back(grammar.optional(
          grammar.sequence({grammar.text("."), grammar.repeat(digit, 1, kDigits)})));
      parts.push_back(grammar.optional(
          grammar.sequence({grammar.characters(e), grammar.optional(grammar.characters(sign)),
                            grammar.repeat(digit, 1, 2)})));
    }
    return grammar.sequence(std::move(parts));
  }
  int whole = std::max(bounds.least ? whole_digits(*bounds.least) : 9,
                       bounds.most ? whole_digits(*bounds.most) : 9);
  const int places = bounds.integer ? 0 : kDigits - whole;
  std::int64_t low = -kLimit, high = kLimit;
  if (bounds.least) {
    const auto [value, exact] = scale(*bounds.least, places, true);
    low = std::max(low, value + (exact && bounds.above_least ? 1 : 0));
  }
  if (bounds.most) {
    const auto [value, exact] = scale(*bounds.most, places, false);
    high = std::min(high, value - (exact && bounds.below_most ? 1 : 0));
  }
  std::vector<Expression> choices;
  if (low < 0) {
    choices.push_back(
        grammar.sequence({grammar.text("-"),
                          not_negative(grammar, std::max<std::int64_t>(1, -high), -low, places)}));
  }
  if (high >= 0) {
    choices.push_back(not_negative(grammar, std::max<std::int64_t>(0, low), high, places));
  }
  return grammar.alternatives(std::move(choices));
}

}  // namespace diffllama
