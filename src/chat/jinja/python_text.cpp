// What str() and repr() of Python make of values.
#include <utf8proc.h>

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "chat/jinja/context.h"
#include "chat/jinja/functions.h"

namespace diffllama::jinja {
namespace {

bool is_printable(char32_t code) {
  if (code == ' ') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

// How a character stands in quotes.
std::string escaped(char32_t code, std::string_view bytes, char quote) {
  if (code == '\\' || code == static_cast<char32_t>(quote)) return std::string("\\").append(bytes);
  if (code == '\n') return "\\n";
  if (code == '\r') return "\\r";
  if (code == '\t') return "\\t";
  if (is_printable(code)) return std::string(bytes);
  std::array<char, 16> buffer{};
  const char* format = code < 0x100 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x";
  std::snprintf(buffer.data(), buffer.size(), format, static_cast<unsigned>(code));
  return buffer.data();
}

void write_quoted(TextWriter& out, const Text& text) {
  const bool has_single = text.bytes().find('\'') != std::string::npos;
  const bool has_double = text.bytes().find('"') != std::string::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  const std::string mark(1, quote);
  out.add(mark);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t size = character_size(text.bytes(), at);
    const auto bytes = std::string_view(text.bytes()).substr(at, size);
    out.add(escaped(character_at(text.bytes(), at), bytes, quote), text.content_at(at));
    at += size;
  }
  out.add(mark);
}

std::string range_text(const Sequence& sequence) {
  const auto [start, stop, step] = sequence.range;
  std::string text = "range(" + std::to_string(start) + ", " + std::to_string(stop);
  if (step != 1) text += ", " + std::to_string(step);
  return text + ")";
}

void write(Context& context, TextWriter& out, const Value& value);

void write_items(Context& context, TextWriter& out, const std::vector<Value>& items) {
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.add(", ");
    write(context, out, items[i]);
  }
}

void write_sequence(Context& context, TextWriter& out, const Sequence& sequence) {
  const auto between = [&](const char* open, const char* close) {
    out.add(open);
    write_items(context, out, sequence.items);
    out.add(close);
  };
  switch (sequence.kind) {
    case Sequence::Kind::list:
      return between("[", "]");
    case Sequence::Kind::tuple:
      return between("(", sequence.items.size() == 1 ? ",)" : ")");
    case Sequence::Kind::view:
      return between((std::string(sequence.view) + "([").c_str(), "])");
    case Sequence::Kind::range:
      return out.add(range_text(sequence));
    case Sequence::Kind::generator:
      return out.add("<generator object>");
  }
}

void write_entries(Context& context, TextWriter& out, const Dict& dict) {
  out.add("{");
  for (std::size_t i = 0; i < dict.entries.size(); ++i) {
    if (i > 0) out.add(", ");
    write(context, out, dict.entries[i].first);
    out.add(": ");
    write(context, out, dict.entries[i].second);
  }
  out.add("}");
}

void write(Context& context, TextWriter& out, const Value& value) {
  context.spend_steps(1);
  if (const Text* text = value.text()) {
    if (text->markup()) out.add("Markup(");
    write_quoted(out, *text);
    if (text->markup()) out.add(")");
  } else if (value.is_undefined()) {
    out.add("Undefined");
  } else if (value.is_none()) {
    out.add("None", value.content());
  } else if (value.is_boolean()) {
    out.add(is_true(value) ? "True" : "False", value.content());
  } else if (const auto integer = value.as_integer()) {
    out.add(std::to_string(*integer), value.content());
  } else if (const auto number = value.as_double()) {
    out.add(float_text(*number), value.content());
  } else if (const Sequence* sequence = value.sequence()) {
    write_sequence(context, out, *sequence);
  } else if (const Dict* dict = value.dict()) {
    write_entries(context, out, *dict);
  } else if (value.name_space() != nullptr) {
    out.add("<Namespace>");
  } else if (const Callable* callable = value.callable()) {
    out.add((callable->macro ? "<Macro '" : "<function '") + callable->name + "'>");
  } else {
    const Loop& loop = *value.loop();
    out.add("<LoopContext " + std::to_string(loop.index + 1) + "/" +
            std::to_string(loop.items->items.size()) + ">");
  }
}

}  // namespace

std::string float_text(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  std::array<char, 40> buffer{};
  char* begin = buffer.data();
  const auto scientific =
      std::to_chars(begin, begin + buffer.size(), number, std::chars_format::scientific);
  std::string text(begin, scientific.ptr);
  const int exponent = std::stoi(text.substr(text.find('e') + 1));
  if (exponent < -4 || exponent >= 16) return text;
  const auto fixed = std::to_chars(begin, begin + buffer.size(), number, std::chars_format::fixed);
  std::string digits(begin, fixed.ptr);
  if (digits.find('.') == std::string::npos) digits += ".0";
  return digits;
}

Text to_text(Context& context, const Value& value) {
  if (const Text* text = value.text()) return *text;
  if (value.is_undefined()) return {};
  return representation(context, value);
}

Text representation(Context& context, const Value& value) {
  TextWriter out(context);
  write(context, out, value);
  return out.take();
}

}  // namespace diffllama::jinja
