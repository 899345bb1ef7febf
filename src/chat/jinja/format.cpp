// str.format and text % values of Python, for the types that templates have.
#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdio>

#include "base/utf8.h"
#include "chat/jinja/functions.h"
#include "chat/jinja/sizes.h"

namespace diffllama::jinja {
namespace {

using Integer = std::int64_t;

constexpr Integer kMostWidth = 1 << 20;

/// How a field is to look: [[fill]align][sign][#][0][width][,][.precision][type] of str.format, to
/// which the flags of % translate.
struct FieldStyle {
  std::string fill = " ";
  char align = 0;  // < > ^ =; 0: numbers right, others left
  char sign = '-';
  bool alternate = false;
  bool commas = false;
  Integer width = 0;
  Integer precision = -1;
  char type = 0;
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

Integer read_number(std::string_view text, std::size_t& at) {
  Integer number = 0;
  for (; at < text.size() && is_digit(text[at]); ++at) {
    number = number * 10 + (text[at] - '0');
    if (number > kMostWidth) {
      throw Failure("expected a width of at most " + std::to_string(kMostWidth) + ", got more");
    }
  }
  return number;
}

FieldStyle parse_style(std::string_view spec) {
  FieldStyle style;
  std::size_t at = 0;
  const auto is_align = [&](std::size_t i) {
    return i < spec.size() && std::string_view("<>^=").find(spec[i]) != std::string_view::npos;
  };
  const std::size_t first = spec.empty() ? 0 : character_size(spec, 0);
  if (is_align(first) && first > 0) {
    style.fill = spec.substr(0, first);
    style.align = spec[first];
    at = first + 1;
  } else if (is_align(0)) {
    style.align = spec[0];
    at = 1;
  }
  const auto next_is = [&](char c) {
    if (at >= spec.size() || spec[at] != c) return false;
    ++at;
    return true;
  };
  for (const char sign : {'+', '-', ' '}) {
    if (next_is(sign)) style.sign = sign;
  }
  style.alternate = next_is('#');
  if (next_is('0') && style.align == 0) {
    style.fill.assign(1, '0');
    style.align = '=';
  }
  style.width = read_number(spec, at);
  style.commas = next_is(',');
  if (next_is('.')) style.precision = read_number(spec, at);
  if (at < spec.size()) style.type = spec[at++];
  if (at < spec.size()) {
    throw Failure("expected a format such as >10 or .2f, got " + std::string(spec.substr(0, 40)));
  }
  return style;
}

std::string with_commas(const std::string& digits) {
  const std::size_t whole = std::min(digits.find_first_not_of("0123456789"), digits.size());
  std::string result;
  for (std::size_t i = 0; i < whole; ++i) {
    if (i > 0 && (whole - i) % 3 == 0) result += ',';
    result += digits[i];
  }
  return result + digits.substr(whole);
}

// Digits without a sign.
std::string integer_digits(std::uint64_t number, const FieldStyle& style) {
  const unsigned base = style.type == 'x' || style.type == 'X' ? 16
                        : style.type == 'o'                    ? 8
                        : style.type == 'b'                    ? 2
                                                               : 10;
  std::string digits;
  do {
    digits += "0123456789abcdef"[number % base];
    number /= base;
  } while (number > 0);
  std::ranges::reverse(digits);
  if (style.alternate && base != 10) digits = std::string("0") + style.type + digits;
  if (style.type == 'X') {
    std::ranges::transform(digits, digits.begin(), [](unsigned char c) { return std::toupper(c); });
  }
  return digits;
}

std::string float_digits(double number, const FieldStyle& style) {
  if (style.type == 0 && style.precision < 0) return float_text(number);
  const char type = style.type == 0 ? 'g' : style.type == '%' ? 'f' : style.type;
  const int precision = static_cast<int>(std::min<Integer>(style.precision, 400));
  std::array<char, 1024> buffer{};
  const std::string format = std::string("%.*") + type;
  std::snprintf(buffer.data(), buffer.size(), format.c_str(), precision < 0 ? 6 : precision,
                style.type == '%' ? number * 100 : number);
  return buffer.data() + std::string(style.type == '%' ? "%" : "");
}

void pad(Context& context, TextWriter& out, const Text& text, std::size_t after_sign,
         const FieldStyle& style, char align) {
  const Integer more = missing(style.width, static_cast<Integer>(count_characters(text.bytes())));
  const Integer left = align == '<' ? 0 : align == '^' ? more / 2 : more;
  const auto fill = [&](Integer count) { out.add(repeated(context, Text(style.fill), count)); };
  out.add(text, 0, align == '=' ? after_sign : 0);
  fill(left);
  out.add(text, align == '=' ? after_sign : 0, text.size());
  fill(more - left);
}

void write_number(Context& context, TextWriter& out, const Value& value, const FieldStyle& style) {
  const bool as_float =
      value.is_float() || std::string_view("eEfFgG%").find(style.type) != std::string_view::npos;
  std::string digits;
  bool negative = false;
  if (as_float && style.type != 'd') {
    const double number = *value.as_double();
    negative = std::signbit(number);
    digits = float_digits(std::fabs(number), style);
  } else {
    const Integer number = value.as_integer().value_or(0);
    negative = number < 0;
    const auto size = static_cast<std::uint64_t>(number);
    digits = integer_digits(negative ? 0 - size : size, style);
  }
  if (style.commas) digits = with_commas(digits);
  std::string sign = negative ? "-" : style.sign == '-' ? "" : std::string(1, style.sign);
  const std::size_t after_sign = sign.size();
  pad(context, out, Text(sign + digits, value.content()), after_sign, style,
      style.align == 0 ? '>' : style.align);
}

void write_field(Context& context, TextWriter& out, const Value& value, const FieldStyle& style) {
  if (value.is_number() && style.type != 's' && !(value.is_boolean() && style.type == 0)) {
    if (value.is_float() && style.type != 0 &&
        std::string_view("eEfFgG%").find(style.type) == std::string_view::npos) {
      throw Failure(std::string("expected an integer for the format ") + style.type +
                    ", got a float");
    }
    write_number(context, out, value, style);
    return;
  }
  if (style.type != 0 && style.type != 's') {
    throw Failure(std::string("expected a number for the format ") + style.type + ", got " +
                  type_name(value));
  }
  Text text = to_text(context, value);
  if (style.precision >= 0) {
    const auto characters = static_cast<std::size_t>(style.precision);
    text = text.slice(0, byte_of_character(text.bytes(), characters));
  }
  pad(context, out, text, 0, style, style.align == 0 || style.align == '=' ? '<' : style.align);
}

// ---- str.format

class Formatter {
 public:
  Formatter(Context& context, const Text& format, const Arguments& arguments)
      : context_(context), format_(format), arguments_(arguments), out_(context) {}

  Value run() {
    const std::string& bytes = format_.bytes();
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t brace = std::min(bytes.find_first_of("{}", at), bytes.size());
      out_.add(format_, at, brace);
      if (brace == bytes.size()) break;
      if (brace + 1 < bytes.size() && bytes[brace + 1] == bytes[brace]) {
        out_.add(format_, brace, brace + 1);
        at = brace + 2;
        continue;
      }
      const std::size_t end = bytes.find('}', brace);
      if (bytes[brace] == '}' || end == std::string::npos) {
        throw Failure("expected braces of a format in pairs, got a single one");
      }
      write(std::string_view(bytes).substr(brace + 1, end - brace - 1));
      at = end + 1;
    }
    return out_.value();
  }

 private:
  // NAME[!r or !s][:style]
  void write(std::string_view field) {
    if (field.find('{') != std::string_view::npos) {
      throw Failure("expected a format without fields in fields, got one");
    }
    const std::size_t colon = std::min(field.find(':'), field.size());
    std::string_view name = field.substr(0, colon);
    const std::string_view spec = colon < field.size() ? field.substr(colon + 1) : "";
    char conversion = 0;
    if (const auto mark = name.find('!'); mark != std::string_view::npos) {
      conversion = mark + 1 < name.size() ? name[mark + 1] : ' ';
      name = name.substr(0, mark);
    }
    Value value = argument(name);
    if (conversion == 'r') value = Value(representation(context_, value));
    if (conversion == 's') value = Value(to_text(context_, value));
    write_field(context_, out_, value, parse_style(spec));
  }

  // NAME, or a number, or nothing, and .attributes and [items] behind it.
  Value argument(std::string_view name) {
    std::size_t at = std::min(name.find_first_of(".["), name.size());
    Value value = root(std::string(name.substr(0, at)));
    while (at < name.size()) {
      const bool bracket = name[at] == '[';
      const std::size_t end = bracket ? std::min(name.find(']', at), name.size())
                                      : std::min(name.find_first_of(".[", at + 1), name.size());
      const std::string part(name.substr(at + 1, end - at - 1));
      const bool number = !part.empty() && part.size() < 18 && std::ranges::all_of(part, is_digit);
      value = !bracket
                  ? context_.attribute(value, part)
                  : context_.item(value, number ? Value(Integer{std::stoll(part)}) : Value(part));
      at = end + (bracket ? 1 : 0);
    }
    return value;
  }

  Value root(const std::string& name) {
    if (name.empty() || std::ranges::all_of(name, is_digit)) {
      (name.empty() ? counted_ : numbered_) = true;
      if (counted_ && numbered_) {
        throw Failure("expected all fields of a format with numbers or none, got both");
      }
      const std::size_t index = name.empty() ? next_++ : std::stoul(name.substr(0, 9));
      if (index < arguments_.positional.size()) return arguments_.positional[index];
      throw Failure("expected an argument for each field of a format, got " +
                    std::to_string(arguments_.positional.size()));
    }
    for (const auto& [given, value] : arguments_.named) {
      if (given == name) return value;
    }
    throw Failure("expected an argument for the field '" + name.substr(0, 60) + "', got none");
  }

  Context& context_;
  const Text& format_;
  const Arguments& arguments_;
  TextWriter out_;
  std::size_t next_ = 0;
  bool counted_ = false, numbered_ = false;  // there was {}, there was {0}
};

Value format(Context& context, const Value& self, const Arguments& arguments) {
  return Formatter(context, *self.text(), arguments).run();
}

constexpr Function kMethods[] = {{"format", format}};

// ---- text % values

class PercentFormatter {
 public:
  PercentFormatter(Context& context, const Text& format, const Value& values)
      : context_(context), format_(format), values_(values), out_(context) {}

  Value run() {
    const std::string& bytes = format_.bytes();
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t percent = std::min(bytes.find('%', at), bytes.size());
      out_.add(format_, at, percent);
      if (percent == bytes.size()) break;
      at = write(percent + 1);
    }
    const bool is_tuple = values_.is_sequence(Sequence::Kind::tuple);
    // Python lets what has items and is no tuple stay unused.
    const bool has_items = values_.dict() != nullptr || values_.undefined() != nullptr ||
                           values_.is_sequence(Sequence::Kind::list) ||
                           values_.is_sequence(Sequence::Kind::range);
    if (!has_items && next_ < (is_tuple ? values_.sequence()->items.size() : 1)) {
      throw Failure("expected as many values of % as its text has fields, got more");
    }
    return out_.value();
  }

 private:
  // One field, from behind its percent sign; returns where it ends.
  std::size_t write(std::size_t at) {
    const std::string& bytes = format_.bytes();
    std::optional<Value> named;
    if (at < bytes.size() && bytes[at] == '(') {
      const std::size_t end = bytes.find(')', at);
      if (end == std::string::npos || values_.dict() == nullptr) {
        throw Failure("expected a dict behind % for a field with a name, got " +
                      type_name(values_));
      }
      const std::string name = bytes.substr(at + 1, end - at - 1);
      const Value* found = values_.dict()->find(name);
      if (found == nullptr) throw Failure("expected a value for %(" + name + "), got none");
      named = *found;
      at = end + 1;
    }
    FieldStyle style;
    style.align = '>';
    for (; at < bytes.size() && std::string_view("-+ 0#").find(bytes[at]) != std::string::npos;
         ++at) {
      if (bytes[at] == '-') style.align = '<';
      if (bytes[at] == '+') style.sign = '+';
      if (bytes[at] == ' ' && style.sign == '-') style.sign = ' ';
      if (bytes[at] == '#') style.alternate = true;
      if (bytes[at] == '0' && style.align != '<') {
        style.fill.assign(1, '0');
        style.align = '=';
      }
    }
    style.width = read_number(bytes, at);
    if (at < bytes.size() && bytes[at] == '.') style.precision = read_number(bytes, ++at);
    if (at >= bytes.size()) throw Failure("expected a letter behind %, got the end of the text");
    write_typed(style, bytes[at], named);
    return at + 1;
  }

  void write_typed(FieldStyle style, char letter, const std::optional<Value>& named) {
    if (letter == '%') return out_.add("%");
    if (std::string_view("srcdiuxXofFeEgG").find(letter) == std::string::npos) {
      throw Failure(std::string("expected % and one of s r c d i x X o f e g, got %") + letter);
    }
    Value value = named ? *named : next();
    if (letter == 'c') {
      value = Value(character(value));
      letter = 's';
    }
    if (letter == 'r') value = Value(representation(context_, value));
    if (letter == 's' || letter == 'r') {
      style.type = 's';
      if (style.align == '=')
        style = FieldStyle{
            .align = '>', .width = style.width, .precision = style.precision, .type = 's'};
      return write_field(context_, out_, value, style);
    }
    if (!value.is_number()) {
      throw Failure(std::string("expected a number for %") + letter + ", got " + type_name(value));
    }
    const bool integer = std::string_view("diu").find(letter) != std::string::npos;
    style.type = integer ? 'd' : letter;
    if (integer && value.is_float()) value = Value(whole(*value.as_double()));
    write_field(context_, out_, value, style);
  }

  // What %c writes: a text of one character, or the character of this number.
  static Text character(const Value& value) {
    const auto code = value.is_float() ? std::nullopt : value.as_integer();
    if (const Text* text = value.text(); text != nullptr && count_characters(text->bytes()) == 1) {
      return *text;
    }
    constexpr Integer kLast = 0x10FFFF, kFirstSurrogate = 0xD800, kLastSurrogate = 0xDFFF;
    if (!code || *code < 0 || *code > kLast ||
        (*code >= kFirstSurrogate && *code <= kLastSurrogate)) {
      throw Failure("expected a character or its number for %c, got " + type_name(value));
    }
    std::string bytes;
    append_utf8(bytes, static_cast<char32_t>(*code));
    return Text(std::move(bytes), value.content());
  }

  static Integer whole(double number) {
    if (!(std::fabs(number) < 9e18)) throw Failure("expected a number of 64 bits, got another");
    return static_cast<Integer>(number);
  }

  Value next() {
    if (values_.is_sequence(Sequence::Kind::tuple)) {
      const auto& items = values_.sequence()->items;
      if (next_ < items.size()) return items[next_++];
    } else if (next_++ == 0) {
      return values_;
    }
    throw Failure("expected as many values of % as its text has fields, got fewer");
  }

  Context& context_;
  const Text& format_;
  const Value& values_;
  TextWriter out_;
  std::size_t next_ = 0;
};

}  // namespace

std::span<const Function> format_methods() { return kMethods; }

Value format_percent(Context& context, const Text& text, const Value& values) {
  return PercentFormatter(context, text, values).run();
}

}  // namespace diffllama::jinja
