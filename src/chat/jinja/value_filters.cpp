// Jinja's filters of any value, and the ways to find a filter.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "chat/jinja/functions.h"

namespace diffllama::jinja {
namespace {

using Integer = std::int64_t;

Value default_value(Context& /*context*/, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "default");
  const Value otherwise = reader.optional("default_value").value_or(Value(""));
  const bool when_false = reader.boolean("boolean", false);
  reader.done();
  return self.is_undefined() || (when_false && !is_true(self)) ? otherwise : self;
}

Value attr(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "attr");
  const std::string name = expect_text(reader.required("name"), "name").bytes();
  reader.done();
  if (const std::optional<Value> method = find_method(self, name)) return *method;
  if (self.name_space() != nullptr || self.loop() != nullptr) return context.attribute(self, name);
  return Undefined{type_name(self) + " has no attribute '" + name.substr(0, 60) + "'"};
}

Value absolute(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "abs").done();
  if (self.is_float()) return std::fabs(*self.as_double());
  const auto integer = self.as_integer();
  if (!integer) throw Failure("expected a number for abs, got " + type_name(self));
  return *integer < 0 ? arithmetic(context, "-", Value(Integer{0}), self) : Value(*integer);
}

// The number that all of a text is, as Python's int() and float() read it.
std::string number_text(const Text& text) {
  std::string digits = trimmed(text).bytes();
  // Python takes one _ between digits.
  for (std::size_t at = digits.find('_'); at != std::string::npos; at = digits.find('_', at)) {
    const auto digit = [&](std::size_t i) {
      return i < digits.size() && std::isxdigit(static_cast<unsigned char>(digits[i])) != 0;
    };
    if (at == 0 || !digit(at - 1) || !digit(at + 1)) return "";
    digits.erase(at, 1);
  }
  if (digits.starts_with('+') && digits.size() > 1 && digits[1] != '-') digits.erase(0, 1);
  return digits;
}

std::optional<double> parse_float(const Text& text) {
  const std::string digits = number_text(text);
  double number = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, number);
  if (digits.empty() || stop != end || error == std::errc::invalid_argument) return std::nullopt;
  if (error == std::errc::result_out_of_range) return std::strtod(digits.c_str(), nullptr);
  return number;
}

std::optional<Integer> whole(double number) {
  if (!std::isfinite(number)) return std::nullopt;
  if (std::fabs(number) >= 9.2e18) throw Failure("expected integers of 64 bits, got a larger one");
  return static_cast<Integer>(number);
}

std::optional<Integer> parse_integer(const Text& text, int base) {
  std::string digits = number_text(text);
  const bool negative = digits.starts_with('-');
  if (negative) digits.erase(0, 1);
  const auto prefixed = [&](const char* prefix, int its_base) {
    return base == its_base && digits.starts_with(prefix);
  };
  if (prefixed("0x", 16) || prefixed("0b", 2) || prefixed("0o", 8)) digits.erase(0, 2);
  if (digits.starts_with('-')) return std::nullopt;
  Integer number = 0;
  if (negative) digits.insert(digits.begin(), '-');
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, number, base);
  if (error == std::errc::result_out_of_range) {
    throw Failure("expected integers of 64 bits, got a larger one");
  }
  if (error != std::errc() || stop != end || digits.empty()) return std::nullopt;
  return number;
}

Value to_integer(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "int");
  const Value otherwise = reader.optional("default").value_or(Value(Integer{0}));
  const Integer base = reader.integer("base", 10);
  reader.done();
  if (base < 2 || base > 36) throw Failure("expected a base from 2 to 36, got another");
  if (const Undefined* undefined = self.undefined()) throw Failure(undefined->why);
  std::optional<Integer> number = self.as_integer();
  if (self.is_float()) number = whole(*self.as_double());
  if (const Text* text = self.text()) {
    context.spend_steps(self.extent().weight);
    number = parse_integer(*text, static_cast<int>(base));
    if (const auto real = number ? std::nullopt : parse_float(*text)) number = whole(*real);
  }
  return number ? Value(*number, self.content()) : otherwise;
}

Value to_float(Context& /*context*/, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "float");
  const Value otherwise = reader.optional("default").value_or(Value(0.0));
  reader.done();
  if (const Undefined* undefined = self.undefined()) throw Failure(undefined->why);
  const std::optional<double> number =
      self.text() != nullptr ? parse_float(*self.text()) : self.as_double();
  return number ? Value(*number, self.content()) : otherwise;
}

Value round_number(Context& /*context*/, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "round");
  const Integer precision = reader.integer("precision", 0);
  const std::string method =
      expect_text(reader.optional("method").value_or(Value("common")), "method").bytes();
  reader.done();
  const std::optional<double> number = self.as_double();
  if (!number) throw Failure("expected a number for round, got " + type_name(self));
  if (precision < -300 || precision > 300)
    throw Failure("expected a precision within 300, got more");
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return std::ceil(*number * scale) / scale;
  if (method == "floor") return std::floor(*number * scale) / scale;
  if (method != "common") throw Failure("expected common, ceil or floor, got " + method);
  if (const auto integer = self.as_integer(); integer && precision >= 0) return *integer;
  if (precision < 0) return std::nearbyint(*number * scale) / scale;
  // As Python rounds: the decimal digits of the exact value, half to even.
  char buffer[700];
  std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(precision), *number);
  return std::strtod(buffer, nullptr);
}

Value format(Context& context, const Value& self, const Arguments& arguments) {
  const Text text = to_text(context, self);
  if (!arguments.named.empty()) {
    Dict named;
    for (const auto& [name, value] : arguments.named) named.set(Value(name), value);
    return format_percent(context, text, context.dict(std::move(named)));
  }
  return format_percent(context, text, context.list(arguments.positional, Sequence::Kind::tuple));
}

Value filesizeformat(Context& /*context*/, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "filesizeformat");
  const bool binary = reader.boolean("binary", false);
  reader.done();
  const std::optional<double> bytes =
      self.text() != nullptr ? parse_float(*self.text()) : self.as_double();
  if (!bytes) throw Failure("expected a number of bytes, got " + type_name(self));
  const double base = binary ? 1024 : 1000;
  if (*bytes == 1) return Value("1 Byte");
  char buffer[400];
  if (*bytes < base) {
    std::snprintf(buffer, sizeof buffer, "%.0f Bytes", std::trunc(*bytes));
    return Value(buffer);
  }
  constexpr std::string_view kPrefixes = "kMGTPEZY";
  double unit = base * base;
  std::size_t i = 0;
  for (; i + 1 < kPrefixes.size() && *bytes >= unit; ++i) unit *= base;
  const char prefix = binary && i == 0 ? 'K' : kPrefixes[i];
  std::snprintf(buffer, sizeof buffer, "%.1f %c%s", base * *bytes / unit, prefix,
                binary ? "iB" : "B");
  return Value(buffer);
}

Value pprint(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "pprint").done();
  return Value(representation(context, self));
}

constexpr Function kFilters[] = {
    {"abs", absolute},
    {"attr", attr},
    {"d", default_value},
    {"default", default_value},
    {"filesizeformat", filesizeformat},
    {"float", to_float},
    {"format", format},
    {"int", to_integer},
    {"pprint", pprint},
    {"round", round_number},
};

}  // namespace

std::span<const Function> value_filters() { return kFilters; }

const Function* find_filter(std::string_view name) {
  for (const auto table : {string_filters(), sequence_filters(), value_filters()}) {
    const auto found = std::ranges::find(table, name, &Function::name);
    if (found != table.end()) return &*found;
  }
  return nullptr;
}

}  // namespace diffllama::jinja
