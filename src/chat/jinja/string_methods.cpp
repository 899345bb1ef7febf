// Methods of Python's str.
#include <utf8proc.h>

#include <algorithm>

#include "chat/jinja/functions.h"

namespace diffllama::jinja {
namespace {

using Integer = std::int64_t;
using Strings = std::vector<Text>;

Value list_of(Context& context, Strings parts) {
  std::vector<Value> items;
  items.reserve(parts.size());
  for (Text& part : parts) items.push_back(context.text(std::move(part)));
  return context.list(std::move(items));
}

utf8proc_int32_t as_code(char32_t code) { return static_cast<utf8proc_int32_t>(code); }

// Each character changed by `change`, which returns one or more.
template <class Change>
Text map_characters(Context& context, const Text& text, const Change& change) {
  TextWriter out(context);
  std::string bytes;
  for (std::size_t at = 0; at < text.size(); at += character_size(text.bytes(), at)) {
    bytes.clear();
    change(code_point_at(text.bytes(), at), bytes, at);
    out.add(bytes, text.content_at(at));
  }
  return out.take();
}

void append_upper(std::string& bytes, char32_t code) {
  if (code == U'ß') {
    bytes += "SS";
  } else {
    append_code_point(bytes, static_cast<char32_t>(utf8proc_toupper(as_code(code))));
  }
}
void append_lower(std::string& bytes, char32_t code) {
  append_code_point(bytes, static_cast<char32_t>(utf8proc_tolower(as_code(code))));
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
    if (!test(code_point_at(bytes, at))) return false;
  }
  return !bytes.empty();
}

// str.isupper and islower: no cased character is of the other kind, and there is one.
Value cased(const Value& self, bool (*wanted)(char32_t), bool (*other)(char32_t)) {
  const std::string& bytes = self.text()->bytes();
  bool found = false;
  for (std::size_t at = 0; at < bytes.size(); at += character_size(bytes, at)) {
    const char32_t code = code_point_at(bytes, at);
    if (other(code)) return false;
    found = found || wanted(code);
  }
  return found;
}

// ---- Stripping

struct Ends {
  bool left, right;
};

Text stripped(const Text& text, const std::optional<Value>& characters, Ends ends) {
  const std::string& bytes = text.bytes();
  const std::string set = characters ? expect_text(*characters, "chars").bytes() : "";
  const auto goes = [&](std::size_t at) {
    if (!characters) return is_space(code_point_at(bytes, at));
    const auto size = character_size(bytes, at);
    for (std::size_t i = 0; i < set.size(); i += character_size(set, i)) {
      if (set.compare(i, character_size(set, i), bytes, at, size) == 0) return true;
    }
    return false;
  };
  std::size_t begin = 0;
  std::size_t end = bytes.size();
  while (ends.left && begin < end && goes(begin)) begin += character_size(bytes, begin);
  while (ends.right && begin < end) {
    std::size_t last = end - 1;
    while (last > begin && (static_cast<unsigned char>(bytes[last]) & 0xc0) == 0x80) --last;
    if (!goes(last)) break;
    end = last;
  }
  return text.slice(begin, end);
}

template <bool left, bool right>
Value strip(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "strip");
  const auto characters = reader.unless_none("chars");
  reader.done();
  const std::size_t set = characters ? characters->extent().weight : 1;
  context.spend_steps(self.extent().weight * set);
  return context.text(stripped(*self.text(), characters, {left, right}));
}

// ---- Splitting

Strings split_at(Context& context, const Text& text, const std::string& separator, Integer most) {
  if (separator.empty()) throw Failure("expected a separator that is not empty, got ''");
  Strings parts;
  std::size_t begin = 0;
  while (most < 0 || static_cast<Integer>(parts.size()) < most) {
    const std::size_t found = text.bytes().find(separator, begin);
    if (found == std::string::npos) break;
    context.spend_bytes(sizeof(Text));
    parts.push_back(text.slice(begin, found));
    begin = found + separator.size();
  }
  parts.push_back(text.slice(begin, text.size()));
  return parts;
}

Strings split_at_from_right(Context& context, const Text& text, const std::string& separator,
                            Integer most) {
  if (separator.empty()) throw Failure("expected a separator that is not empty, got ''");
  Strings parts;
  std::size_t end = text.size();
  while (most < 0 || static_cast<Integer>(parts.size()) < most) {
    const std::size_t found = end < separator.size()
                                  ? std::string::npos
                                  : text.bytes().rfind(separator, end - separator.size());
    if (found == std::string::npos) break;
    context.spend_bytes(sizeof(Text));
    parts.push_back(text.slice(found + separator.size(), end));
    end = found;
  }
  parts.push_back(text.slice(0, end));
  std::ranges::reverse(parts);
  return parts;
}

Strings split_at_spaces(Context& context, const Text& text, Integer most) {
  const std::string& bytes = text.bytes();
  Strings parts;
  std::size_t at = 0;
  const auto skip = [&](bool spaces) {
    while (at < bytes.size() && is_space(code_point_at(bytes, at)) == spaces) {
      at += character_size(bytes, at);
    }
  };
  for (skip(true); at < bytes.size(); skip(true)) {
    context.spend_bytes(sizeof(Text));
    const std::size_t begin = at;
    if (most >= 0 && static_cast<Integer>(parts.size()) == most) {
      parts.push_back(stripped(text.slice(begin, text.size()), {}, {false, true}));
      break;
    }
    skip(false);
    parts.push_back(text.slice(begin, at));
  }
  return parts;
}

Strings split_at_spaces_from_right(Context& context, const Text& text, Integer most) {
  const Strings all = split_at_spaces(context, text, -1);
  if (most < 0 || static_cast<Integer>(all.size()) <= most) return all;
  // What stays together ends where the last `most` words begin.
  Text rest = text;
  Strings parts;
  for (Integer i = 0; i < most; ++i) {
    rest = stripped(rest, {}, {false, true});
    const Text& word = all[all.size() - 1 - static_cast<std::size_t>(i)];
    rest = rest.slice(0, rest.size() - word.size());
    context.spend_bytes(rest.size());
    parts.push_back(word);
  }
  parts.push_back(stripped(rest, {}, {false, true}));
  std::ranges::reverse(parts);
  return parts;
}

Value split(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "split");
  const auto separator = reader.unless_none("sep");
  const Integer most = reader.integer("maxsplit", -1);
  reader.done();
  if (!separator) return list_of(context, split_at_spaces(context, *self.text(), most));
  return list_of(context,
                 split_at(context, *self.text(), expect_text(*separator, "sep").bytes(), most));
}

Value rsplit(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "rsplit");
  const auto separator = reader.unless_none("sep");
  const Integer most = reader.integer("maxsplit", -1);
  reader.done();
  if (!separator) return list_of(context, split_at_spaces_from_right(context, *self.text(), most));
  return list_of(context, split_at_from_right(context, *self.text(),
                                              expect_text(*separator, "sep").bytes(), most));
}

Value splitlines(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "splitlines");
  const bool keep_ends = reader.boolean("keepends", false);
  reader.done();
  context.spend_bytes(self.text()->size());
  return list_of(context, split_lines(*self.text(), keep_ends));
}

template <bool from_right>
Value partition(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "partition");
  const Text separator = expect_text(reader.required("sep"), "sep");
  reader.done();
  if (separator.empty()) throw Failure("expected a separator that is not empty, got ''");
  const Text& text = *self.text();
  const std::size_t found =
      from_right ? text.bytes().rfind(separator.bytes()) : text.bytes().find(separator.bytes());
  std::vector<Value> parts(3, Value(Text()));
  if (found == std::string::npos) {
    parts[from_right ? 2 : 0] = self;
  } else {
    parts[0] = context.text(text.slice(0, found));
    parts[1] = context.text(text.slice(found, found + separator.size()));
    parts[2] = context.text(text.slice(found + separator.size(), text.size()));
  }
  return context.list(std::move(parts), Sequence::Kind::tuple);
}

// ---- Searching

// The bytes that [start:end] of str.find and its like name; nothing where start is past the end.
struct Window {
  std::size_t begin, end;
};
std::optional<Window> window_of(const Text& text, ArgumentReader& reader) {
  const auto start = reader.unless_none("start");
  const auto stop = reader.unless_none("end");
  if (!start && !stop) return Window{0, text.size()};
  const auto count = static_cast<Integer>(count_characters(text.bytes()));
  const auto place = [&](const std::optional<Value>& given, Integer otherwise) {
    if (!given) return otherwise;
    const auto index = given->as_integer();
    if (!index) throw Failure("expected an integer as start or end, got " + type_name(*given));
    return std::max<Integer>(0, *index < 0 ? *index + count : *index);
  };
  const Integer first = place(start, 0);
  const Integer last = std::min(place(stop, count), count);
  if (first > count || first > last) return std::nullopt;
  return Window{byte_of_character(text.bytes(), static_cast<std::size_t>(first)),
                byte_of_character(text.bytes(), static_cast<std::size_t>(last))};
}

template <bool from_right, bool must_be_there>
Value find(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "find");
  const Text& text = *self.text();
  const std::string part = expect_text(reader.required("sub"), "sub").bytes();
  const std::optional<Window> window = window_of(text, reader);
  reader.done();
  context.spend_steps(self.extent().weight);
  const std::string_view bytes = std::string_view(text.bytes()).substr(0, window ? window->end : 0);
  std::size_t found = std::string_view::npos;
  if (window) {
    found = from_right ? bytes.rfind(part) : bytes.find(part, window->begin);
    if (found != std::string_view::npos && found < window->begin) found = std::string_view::npos;
  }
  if (found != std::string_view::npos) {
    return static_cast<Integer>(count_characters(bytes.substr(0, found)));
  }
  if (must_be_there) throw Failure("expected a string that holds what index looks for, got none");
  return Integer{-1};
}

Value count(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "count");
  const Text& text = *self.text();
  const std::string part = expect_text(reader.required("sub"), "sub").bytes();
  const std::optional<Window> window = window_of(text, reader);
  reader.done();
  context.spend_steps(self.extent().weight);
  if (!window) return Integer{0};
  const std::string_view bytes =
      std::string_view(text.bytes()).substr(window->begin, window->end - window->begin);
  if (part.empty()) return static_cast<Integer>(count_characters(bytes)) + 1;
  Integer found = 0;
  for (std::size_t at = 0; (at = bytes.find(part, at)) != std::string_view::npos;
       at += part.size()) {
    ++found;
  }
  return found;
}

template <bool at_end>
Value affix(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, at_end ? "endswith" : "startswith");
  const Value affixes = reader.required("prefix");
  const std::optional<Window> window = window_of(*self.text(), reader);
  reader.done();
  if (!window) return false;
  const std::string_view bytes =
      std::string_view(self.text()->bytes()).substr(window->begin, window->end - window->begin);
  const auto has = [&](const Value& one) {
    const std::string& text = expect_text(one, "prefix").bytes();
    return at_end ? bytes.ends_with(text) : bytes.starts_with(text);
  };
  if (!affixes.is_sequence(Sequence::Kind::tuple)) return has(affixes);
  context.spend_steps(affixes.extent().weight);
  return std::ranges::any_of(affixes.sequence()->items, has);
}

template <bool at_end>
Value remove_affix(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "removeprefix");
  const std::string part = expect_text(reader.required("prefix"), "prefix").bytes();
  reader.done();
  const Text& text = *self.text();
  if (at_end) {
    const bool has = text.bytes().ends_with(part);
    return has ? context.text(text.slice(0, text.size() - part.size())) : self;
  }
  const bool has = text.bytes().starts_with(part);
  return has ? context.text(text.slice(part.size(), text.size())) : self;
}

Value replace(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "replace");
  const Text old = expect_text(reader.required("old"), "old");
  const Text fresh = expect_text(reader.required("new"), "new");
  Integer most = reader.integer("count", -1);
  reader.done();
  const Text& text = *self.text();
  TextWriter out(context);
  std::size_t begin = 0;
  for (std::size_t at = 0; most != 0; --most) {
    const std::size_t found = text.bytes().find(old.bytes(), at);
    if (found == std::string::npos) break;
    out.add(text, begin, found);
    out.add(fresh);
    context.spend_steps(1);
    begin = found + old.size();
    // An empty string stands before every character, and at the end.
    if (old.empty() && begin >= text.size()) break;
    at = old.empty() ? begin + character_size(text.bytes(), begin) : begin;
  }
  out.add(text, begin, text.size());
  return out.value();
}

// ---- Filling up

std::string fill_of(ArgumentReader& reader) {
  const auto fill = reader.optional("fillchar");
  const std::string character = fill ? expect_text(*fill, "fillchar").bytes() : " ";
  if (count_characters(character) != 1) {
    throw Failure("expected one character to fill with, got " +
                  std::to_string(count_characters(character)));
  }
  return character;
}

void add_fill(TextWriter& out, const std::string& fill, Integer count) {
  for (Integer i = 0; i < count; ++i) out.add(fill);
}

// Where the text stands: 0 left, 1 in the middle, 2 right.
template <int place>
Value justify(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "center, ljust or rjust");
  const Integer width = reader.integer("width", 0);
  const std::string fill = fill_of(reader);
  reader.done();
  const auto size = static_cast<Integer>(count_characters(self.text()->bytes()));
  const Integer missing = std::max<Integer>(0, width - size);
  const Integer left = place == 0 ? 0 : place == 2 ? missing : missing / 2 + (missing & width & 1);
  TextWriter out(context);
  add_fill(out, fill, left);
  out.add(*self.text());
  add_fill(out, fill, missing - left);
  return out.value();
}

Value zfill(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "zfill");
  const Integer width = reader.integer("width", 0);
  reader.done();
  const Text& text = *self.text();
  const std::size_t sign = text.bytes().starts_with('-') || text.bytes().starts_with('+') ? 1 : 0;
  TextWriter out(context);
  out.add(text, 0, sign);
  add_fill(out, "0", width - static_cast<Integer>(count_characters(text.bytes())));
  out.add(text, sign, text.size());
  return out.value();
}

Value expandtabs(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "expandtabs");
  const Integer width = reader.integer("tabsize", 8);
  reader.done();
  const Text& text = *self.text();
  TextWriter out(context);
  Integer column = 0;
  for (std::size_t at = 0; at < text.size(); at += character_size(text.bytes(), at)) {
    const char c = text.bytes()[at];
    if (c == '\t') {
      const Integer spaces = width > 0 ? width - column % width : 0;
      add_fill(out, " ", spaces);
      column += spaces;
    } else {
      out.add(text, at, at + character_size(text.bytes(), at));
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
  }
  return out.value();
}

Value join(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "join");
  const auto items = context.items_of(reader.required("iterable"));
  reader.done();
  TextWriter out(context);
  for (std::size_t i = 0; i < items->items.size(); ++i) {
    if (i > 0) out.add(*self.text());
    out.add(expect_text(items->items[i], "an item of join"));
  }
  return out.value();
}

bool is_title(const std::string& bytes) {
  bool inside = false;
  bool found = false;
  for (std::size_t at = 0; at < bytes.size(); at += character_size(bytes, at)) {
    const char32_t code = code_point_at(bytes, at);
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
  return is_true(every(self, is_identifier_part)) && !is_digit(code_point_at(bytes, 0));
}

constexpr Function kMethods[] = {
    {"capitalize", changed<capitalized>},
    {"casefold", changed<lower_text>},
    {"center", justify<1>},
    {"count", count},
    {"endswith", affix<true>},
    {"expandtabs", expandtabs},
    {"find", find<false, false>},
    {"index", find<false, true>},
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
    {"join", join},
    {"ljust", justify<0>},
    {"lower", changed<lower_text>},
    {"lstrip", strip<true, false>},
    {"partition", partition<false>},
    {"removeprefix", remove_affix<false>},
    {"removesuffix", remove_affix<true>},
    {"replace", replace},
    {"rfind", find<true, false>},
    {"rindex", find<true, true>},
    {"rjust", justify<2>},
    {"rpartition", partition<true>},
    {"rsplit", rsplit},
    {"rstrip", strip<false, true>},
    {"split", split},
    {"splitlines", splitlines},
    {"startswith", affix<false>},
    {"strip", strip<true, true>},
    {"swapcase", changed<swapped>},
    {"title", changed<title>},
    {"upper", changed<upper_text>},
    {"zfill", zfill},
};

}  // namespace

std::span<const Function> string_methods() { return kMethods; }

bool is_space(char32_t code) {
  if ((code >= 0x09 && code <= 0x0d) || (code >= 0x1c && code <= 0x20)) return true;
  if (code < 0x80) return false;
  return code == 0x85 || code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) ||
         code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

Text trimmed(const Text& text) { return stripped(text, {}, {true, true}); }

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

std::vector<Text> split_lines(const Text& text, bool keep_ends) {
  const std::string& bytes = text.bytes();
  const auto ends_line = [](char32_t code) {
    return (code >= 0x0a && code <= 0x0d) || (code >= 0x1c && code <= 0x1e) || code == 0x85 ||
           code == 0x2028 || code == 0x2029;
  };
  Strings lines;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < bytes.size();) {
    std::size_t next = at + character_size(bytes, at);
    if (!ends_line(code_point_at(bytes, at))) {
      at = next;
      continue;
    }
    if (bytes[at] == '\r' && next < bytes.size() && bytes[next] == '\n') ++next;
    lines.push_back(text.slice(begin, keep_ends ? next : at));
    begin = at = next;
  }
  if (begin < bytes.size()) lines.push_back(text.slice(begin, bytes.size()));
  return lines;
}

}  // namespace diffllama::jinja
