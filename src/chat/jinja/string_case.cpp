// Methods of Python's str that change or tell the kind of letters.
#include <utf8proc.h>

#include <algorithm>

#include "base/utf8.h"
#include "chat/jinja/functions.h"
#include "chat/jinja/sizes.h"

namespace diffllama::jinja {
namespace {

utf8proc_int32_t as_code(char32_t code) { return static_cast<utf8proc_int32_t>(code); }

// Each character changed by `change`, which returns one or more.
template <class Change>
Text map_characters(Context& context, const Text& text, const Change& change) {
  spend_characters(context, text);
  TextWriter out(context);
  std::string bytes;
  for (std::size_t at = 0; at < text.size(); at += character_size(text.bytes(), at)) {
    bytes.clear();
    change(character_at(text.bytes(), at), bytes, at);
    out.add(bytes, text.content_at(at));
  }
  return out.take();
}

void append_upper(std::string& bytes, char32_t code) {
  if (code == U'ß') {
    bytes += "SS";
  } else {
    append_utf8(bytes, static_cast<char32_t>(utf8proc_toupper(as_code(code))));
  }
}
void append_lower(std::string& bytes, char32_t code) {
  append_utf8(bytes, static_cast<char32_t>(utf8proc_tolower(as_code(code))));
}

bool is_letter(char32_t code) {
  const auto category = utf8proc_category(as_code(code));
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}
bool is_upper(char32_t code) { return utf8proc_category(as_code(code)) == UTF8PROC_CATEGORY_LU; }
bool is_lower(char32_t code) { return utf8proc_category(as_code(code)) == UTF8PROC_CATEGORY_LL; }
bool is_digit(char32_t code) { return utf8proc_category(as_code(code)) == UTF8PROC_CATEGORY_ND; }
bool is_numeric(char32_t code) {
  const auto category = utf8proc_category(as_code(code));
  return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}

Text capitalized(Context& context, const Text& text) {
  return map_characters(context, text, [](char32_t code, std::string& bytes, std::size_t at) {
    if (at > 0) return append_lower(bytes, code);
    append_upper(bytes, code);
  });
}

Text title(Context& context, const Text& text) {
  bool inside = false;  // a word
  return map_characters(context, text, [&](char32_t code, std::string& bytes, std::size_t) {
    if (inside) {
      append_lower(bytes, code);
    } else {
      append_upper(bytes, code);
    }
    inside = is_letter(code);
  });
}

Text swapped(Context& context, const Text& text) {
  return map_characters(context, text, [](char32_t code, std::string& bytes, std::size_t) {
    if (is_upper(code)) return append_lower(bytes, code);
    append_upper(bytes, code);
  });
}

template <Text (*change)(Context&, const Text&)>
Value changed(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "a method").done();
  return Value(change(context, *self.text()));
}

template <class Test>
Value every(const Value& self, const Test& test) {
  const std::string& bytes = self.text()->bytes();
  for (std::size_t at = 0; at < bytes.size(); at += character_size(bytes, at)) {
    if (!test(character_at(bytes, at))) return false;
  }
  return !bytes.empty();
}

// str.isupper and islower: no cased character is of the other kind, and there is one.
Value cased(const Value& self, bool (*wanted)(char32_t), bool (*other)(char32_t)) {
  const std::string& bytes = self.text()->bytes();
  bool found = false;
  for (std::size_t at = 0; at < bytes.size(); at += character_size(bytes, at)) {
    const char32_t code = character_at(bytes, at);
    if (other(code)) return false;
    found = found || wanted(code);
  }
  return found;
}

bool is_title(const std::string& bytes) {
  bool inside = false;
  bool found = false;
  for (std::size_t at = 0; at < bytes.size(); at += character_size(bytes, at)) {
    const char32_t code = character_at(bytes, at);
    if (is_upper(code) && inside) return false;
    if (is_lower(code) && !inside) return false;
    inside = is_upper(code) || is_lower(code);
    found = found || inside;
  }
  return found;
}

bool is_identifier_part(char32_t code) { return code == '_' || is_letter(code) || is_digit(code); }

Value is_identifier(Context& /*context*/, const Value& self, const Arguments& /*arguments*/) {
  const std::string& bytes = self.text()->bytes();
  return is_true(every(self, is_identifier_part)) && !is_digit(character_at(bytes, 0));
}

constexpr Function kMethods[] = {
    {"capitalize", changed<capitalized>},
    {"casefold", changed<lower_text>},
    {"isalnum",
     [](Context&, const Value& self, const Arguments&) {
       return every(self, [](char32_t code) { return is_letter(code) || is_numeric(code); });
     }},
    {"isalpha",
     [](Context&, const Value& self, const Arguments&) { return every(self, is_letter); }},
    {"isascii",
     [](Context&, const Value& self, const Arguments&) {
       return Value(std::ranges::all_of(self.text()->bytes(), [](char c) { return c >= 0; }));
     }},
    {"isdecimal",
     [](Context&, const Value& self, const Arguments&) { return every(self, is_digit); }},
    {"isdigit",
     [](Context&, const Value& self, const Arguments&) { return every(self, is_digit); }},
    {"isidentifier", is_identifier},
    {"islower",
     [](Context&, const Value& self, const Arguments&) { return cased(self, is_lower, is_upper); }},
    {"isnumeric",
     [](Context&, const Value& self, const Arguments&) { return every(self, is_numeric); }},
    {"isspace",
     [](Context&, const Value& self, const Arguments&) { return every(self, is_space); }},
    {"istitle", [](Context&, const Value& self,
                   const Arguments&) { return Value(is_title(self.text()->bytes())); }},
    {"isupper",
     [](Context&, const Value& self, const Arguments&) { return cased(self, is_upper, is_lower); }},
    {"lower", changed<lower_text>},
    {"swapcase", changed<swapped>},
    {"title", changed<title>},
    {"upper", changed<upper_text>},
};

}  // namespace

std::span<const Function> case_methods() { return kMethods; }

bool is_space(char32_t code) {
  if ((code >= 0x09 && code <= 0x0d) || (code >= 0x1c && code <= 0x20)) return true;
  if (code < 0x80) return false;
  return code == 0x85 || code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) ||
         code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

Text lower_text(Context& context, const Text& text) {
  return map_characters(context, text, [](char32_t code, std::string& bytes, std::size_t) {
    append_lower(bytes, code);
  });
}

Text upper_text(Context& context, const Text& text) {
  return map_characters(context, text, [](char32_t code, std::string& bytes, std::size_t) {
    append_upper(bytes, code);
  });
}

}  // namespace diffllama::jinja
