// Arithmetic, slices and text % values, as Python has them.
#include <algorithm>
#include <cmath>
#include <limits>

#include "chat/jinja/functions.h"
#include "chat/jinja/sizes.h"

namespace diffllama::jinja {
namespace {

using Integer = std::int64_t;

[[noreturn]] void refuse(std::string_view op, const Value& a, const Value& b) {
  for (const Value* value : {&a, &b}) {
    if (const Undefined* undefined = value->undefined()) throw Failure(undefined->why);
  }
  throw Failure("expected values that `" + std::string(op) + "` can take, got " + type_name(a) +
                " and " + type_name(b));
}

void refuse_overflow(bool overflow) {
  if (overflow) throw Failure("expected integers of 64 bits, got a result that is larger");
}

Integer floor_divide(Integer a, Integer b) {
  if (b == 0) throw Failure("expected a divisor that is not 0, got 0");
  refuse_overflow(b == -1 && a == std::numeric_limits<Integer>::min());
  return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

Integer modulo(Integer a, Integer b) {
  if (b == 0) throw Failure("expected a divisor that is not 0, got 0");
  if (b == -1) return 0;
  const Integer rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

Integer power(Integer base, Integer exponent) {
  if (base == 0 || base == 1 || exponent == 0) return exponent == 0 ? 1 : base;
  if (base == -1) return exponent % 2 == 0 ? 1 : -1;
  Integer result = 1;
  for (; exponent > 0; --exponent) refuse_overflow(__builtin_mul_overflow(result, base, &result));
  return result;
}

Value integer_arithmetic(std::string_view op, Integer a, Integer b) {
  if (op == "+" || op == "-" || op == "*") {
    Integer result = 0;
    refuse_overflow(op == "+"   ? __builtin_add_overflow(a, b, &result)
                    : op == "-" ? __builtin_sub_overflow(a, b, &result)
                                : __builtin_mul_overflow(a, b, &result));
    return result;
  }
  if (op == "//") return floor_divide(a, b);
  if (op == "%") return modulo(a, b);
  if (op == "**" && b >= 0) return power(a, b);
  if (op == "**") return std::pow(static_cast<double>(a), static_cast<double>(b));
  if (b == 0) throw Failure("expected a divisor that is not 0, got 0");
  return static_cast<double>(a) / static_cast<double>(b);
}

Value float_arithmetic(std::string_view op, double a, double b) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "**") return std::pow(a, b);
  if (b == 0) throw Failure("expected a divisor that is not 0, got 0");
  if (op == "/") return a / b;
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  if (op == "%") return rest;
  return std::round((a - rest) / b);
}

// `repeats` of a string or sequence.
Value repeat(Context& context, const Value& value, Integer repeats) {
  if (const Text* text = value.text()) return Value(repeated(context, *text, repeats));
  const Sequence& sequence = *value.sequence();
  const auto count = static_cast<std::size_t>(std::max<Integer>(repeats, 0));
  spend_bytes_of(context, count, sequence.items.size() * sizeof(Value));
  std::vector<Value> items;
  if (!sequence.items.empty()) items.reserve(count * sequence.items.size());
  for (std::size_t i = 0; i < count && !sequence.items.empty(); ++i) {
    items.insert(items.end(), sequence.items.begin(), sequence.items.end());
  }
  return context.list(std::move(items), sequence.kind);
}

bool can_repeat(const Value& value) {
  return value.text() != nullptr || value.is_sequence(Sequence::Kind::list) ||
         value.is_sequence(Sequence::Kind::tuple);
}

Value join(Context& context, const Value& a, const Value& b) {
  if (a.text() != nullptr && b.text() != nullptr) {
    const bool markup = a.text()->markup() || b.text()->markup();
    TextWriter out(context);
    for (const Value* part : {&a, &b}) {
      out.add(markup ? html_escaped(context, *part->text()) : *part->text());
    }
    Text joined = out.take();
    if (markup) joined.set_markup();
    return Value(std::move(joined));
  }
  const Sequence* x = a.sequence();
  const Sequence* y = b.sequence();
  if (x == nullptr || y == nullptr || x->kind != y->kind || x->kind > Sequence::Kind::tuple) {
    refuse("+", a, b);
  }
  context.spend_bytes((x->items.size() + y->items.size()) * sizeof(Value));
  std::vector<Value> items = x->items;
  items.insert(items.end(), y->items.begin(), y->items.end());
  return context.list(std::move(items), x->kind);
}

std::optional<Integer> slice_part(const Value& value) {
  if (value.is_none()) return std::nullopt;
  if (const auto integer = value.as_integer()) return integer;
  throw Failure("expected integers in a slice, got " + type_name(value));
}

// Characters [begin, end).
Value part_of(Context& context, const Text& text, Integer begin, Integer end) {
  if (begin >= end) return Value(Text());
  const std::size_t first = byte_of_character(text.bytes(), static_cast<std::size_t>(begin));
  const std::string_view rest = std::string_view(text.bytes()).substr(first);
  return context.text(
      text.slice(first, first + byte_of_character(rest, static_cast<std::size_t>(end - begin))));
}

// start + index * step, as it is where 64 bits hold it: only printing a range shows that.
Integer range_item(Integer start, Integer index, Integer step) {
  Integer item = 0;
  if (__builtin_mul_overflow(index, step, &item)) return start;
  return __builtin_add_overflow(start, item, &item) ? start : item;
}

}  // namespace

Value arithmetic(Context& context, std::string_view op, const Value& a, const Value& b) {
  const auto left = a.as_integer();
  const auto right = b.as_integer();
  if (left && right) return integer_arithmetic(op, *left, *right);
  if (a.is_number() && b.is_number()) return float_arithmetic(op, *a.as_double(), *b.as_double());
  if (op == "+") return join(context, a, b);
  if (op == "*" && can_repeat(a) && right) return repeat(context, a, *right);
  if (op == "*" && left && can_repeat(b)) return repeat(context, b, *left);
  if (op == "%" && a.text() != nullptr) return format_percent(context, *a.text(), b);
  refuse(op, a, b);
}

Value character(Context& context, const Text& text, std::int64_t index) {
  context.spend_steps(text.size() / 64);
  const auto count = static_cast<Integer>(count_characters(text.bytes()));
  const Integer place = index < 0 ? index + count : index;
  if (place < 0 || place >= count) {
    return Undefined{"a string has no character " + std::to_string(index)};
  }
  const std::size_t at = byte_of_character(text.bytes(), static_cast<std::size_t>(place));
  return Value(text.slice(at, at + character_size(text.bytes(), at)));
}

Value slice_of(Context& context, const Value& value, const Value& start, const Value& stop,
               const Value& step) {
  if (value.text() == nullptr &&
      (value.sequence() == nullptr || value.sequence()->kind > Sequence::Kind::range)) {
    if (const Undefined* undefined = value.undefined()) throw Failure(undefined->why);
    return Undefined{type_name(value) + " has no slices"};
  }
  const Integer stride = slice_part(step).value_or(1);
  const Text* text = value.text();
  const auto items = text != nullptr && stride == 1 ? nullptr : context.items_of(value);
  const auto size = static_cast<Integer>(items != nullptr ? items->items.size()
                                                          : count_characters(text->bytes()));
  if (stride == 0) throw Failure("expected a slice whose step is not 0, got 0");
  const bool forward = stride > 0;
  const auto bound = [&](const Value& part, Integer otherwise) {
    const std::optional<Integer> given = slice_part(part);
    if (!given) return otherwise;
    const Integer place = *given < 0 ? *given + size : *given;
    return forward ? std::clamp<Integer>(place, 0, size) : std::clamp<Integer>(place, -1, size - 1);
  };
  const Integer begin = bound(start, forward ? 0 : size - 1);
  const Integer end = bound(stop, forward ? size : -1);
  if (items == nullptr) return part_of(context, *text, begin, end);
  std::vector<Value> taken;
  for (Integer i = begin; forward ? i < end : i > end;) {
    taken.push_back(items->items[static_cast<std::size_t>(i)]);
    if (__builtin_add_overflow(i, stride, &i)) break;
  }
  if (text == nullptr) {
    Value part = context.list(std::move(taken), value.sequence()->kind);
    const auto [first, last, gap] = value.sequence()->range;
    part.shared_sequence()->range = {range_item(first, begin, gap), range_item(first, end, gap),
                                     range_item(0, gap, stride)};
    return part;
  }
  TextWriter out(context);
  for (const Value& part : taken) out.add(*part.text());
  return out.value();
}

Value look_up(Context& context, const Value& value, const std::optional<Value>& attribute) {
  if (!attribute || attribute->is_none()) return value;
  if (attribute->as_integer()) return context.item(value, *attribute);
  const std::string path = expect_text(*attribute, "attribute").bytes();
  Value found = value;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('.', begin), path.size());
    const std::string part = path.substr(begin, end - begin);
    const bool is_number = !part.empty() && part.size() < 18 &&
                           part.find_first_not_of("0123456789") == std::string::npos;
    // An item before an attribute, other than in `value.name`.
    found = context.item(found, is_number ? Value(Integer{std::stoll(part)}) : Value(part));
    begin = end + 1;
  }
  return found;
}

}  // namespace diffllama::jinja
