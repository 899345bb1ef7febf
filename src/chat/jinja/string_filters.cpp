// Jinja's filters of strings.
#include <utf8proc.h>

#include <algorithm>
#include <cstdio>

#include "chat/jinja/functions.h"
#include "chat/jinja/sizes.h"

namespace diffllama::jinja {
namespace {

using Integer = std::int64_t;

Value upper(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "upper").done();
  return Value(upper_text(context, to_text(context, self)));
}

Value lower(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "lower").done();
  return Value(lower_text(context, to_text(context, self)));
}

// A method of str as a filter.
template <const char* const& name>
Value method(Context& context, const Value& self, const Arguments& arguments) {
  return context.call(context.attribute(Value(to_text(context, self)), name), arguments);
}
constexpr const char* kCapitalize = "capitalize";
constexpr const char* kStrip = "strip";

Value trim(Context& context, const Value& self, const Arguments& arguments) {
  return method<kStrip>(context, self, arguments);
}

Value replace(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "replace");
  const Value old = Value(to_text(context, reader.required("old")));
  const Value fresh = Value(to_text(context, reader.required("new")));
  const Value count = reader.unless_none("count").value_or(Value(Integer{-1}));
  reader.done();
  const Arguments passed{{old, fresh, count}, {}};
  return context.call(context.attribute(Value(to_text(context, self)), "replace"), passed);
}

Value title(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "title").done();
  const Text text = to_text(context, self);
  const std::string& bytes = text.bytes();
  context.spend_steps(text.size());  // each character becomes a text of its own
  TextWriter out(context);
  bool at_start = true;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t next = at + character_size(bytes, at);
    const Text character = text.slice(at, next);
    const bool separates = std::string_view("-({[<").find(bytes[at]) != std::string_view::npos ||
                           is_space(character_at(bytes, at));
    out.add(at_start ? upper_text(context, character) : lower_text(context, character));
    at_start = separates;
    at = next;
  }
  return out.value();
}

Value indent(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "indent");
  const Value width = reader.optional("width").value_or(Value(Integer{4}));
  const bool first = reader.boolean("first", false);
  const bool blank = reader.boolean("blank", false);
  reader.done();
  Text indention;
  if (width.text() != nullptr) {
    indention = *width.text();
  } else {
    const auto spaces = static_cast<std::size_t>(std::clamp<Integer>(
        width.as_integer().value_or(0), 0, static_cast<Integer>(context.limits().bytes)));
    context.spend_bytes(spaces);
    indention = Text(std::string(spaces, ' '));
  }
  Text text = expect_text(self, "what indent takes");
  text.append("\n", false);  // so that a last line's end is kept
  spend_lines(context, text);
  const std::vector<Text> lines = split_lines(text, false);
  TextWriter out(context);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.add("\n");
    if (i > 0 ? blank || !lines[i].empty() : first) out.add(indention);
    out.add(lines[i]);
  }
  return out.value();
}

Value center(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "center");
  const Integer width = reader.integer("width", 80);
  reader.done();
  return context.call(context.attribute(Value(to_text(context, self)), "center"),
                      Arguments{{Value(width)}, {}});
}

Value truncate(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "truncate");
  const Integer length = reader.integer("length", 255);
  const bool kill_words = reader.boolean("killwords", false);
  const Text end = expect_text(reader.optional("end").value_or(Value("...")), "end");
  const auto given = reader.unless_none("leeway");
  const Integer leeway = given ? given->as_integer().value_or(-1) : 5;
  reader.done();
  const auto end_size = static_cast<Integer>(count_characters(end.bytes()));
  if (length < end_size || leeway < 0) {
    throw Failure("expected a length of truncate that the end fits in, got " +
                  std::to_string(length));
  }
  if (self.is_undefined()) return self;  // as long as nothing
  const Text& text = expect_text(self, "what truncate takes");
  if (static_cast<Integer>(count_characters(text.bytes())) <= length + leeway) return self;
  std::size_t cut = byte_of_character(text.bytes(), static_cast<std::size_t>(length - end_size));
  if (!kill_words) {
    const std::size_t space = text.bytes().substr(0, cut).rfind(' ');
    if (space != std::string::npos) cut = space;
  }
  TextWriter out(context);
  out.add(text, 0, cut);
  out.add(end);
  return out.value();
}

bool is_word(char32_t code) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  return code == '_' || (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) ||
         (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO);
}

Value wordcount(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "wordcount").done();
  const Text text = to_text(context, self);
  spend_characters(context, text);
  const std::string& bytes = text.bytes();
  Integer words = 0;
  bool inside = false;
  for (std::size_t at = 0; at < bytes.size(); at += character_size(bytes, at)) {
    const bool word = is_word(character_at(bytes, at));
    if (word && !inside) ++words;
    inside = word;
  }
  return words;
}

Value escape(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "escape").done();
  return Value(html_escaped(context, to_text(context, self)));
}

Value safe(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "safe").done();
  Text text = to_text(context, self);
  text.set_markup();
  return Value(std::move(text));
}

// soft_str: what is a string stays what it is.
Value string(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "string").done();
  return self.text() != nullptr ? self : Value(to_text(context, self));
}

// In the values of a query a slash is written as %2F and a blank as +.
void add_quoted(Context& context, const Value& value, bool of_query, TextWriter& out) {
  const Text text = to_text(context, value);
  spend_characters(context, text);
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text.bytes()[at];
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~").find(c) != std::string_view::npos ||
                       (c == '/' && !of_query);
    char buffer[4];
    std::snprintf(buffer, sizeof buffer, "%%%02X", static_cast<unsigned char>(c));
    const std::string quoted = of_query && c == ' ' ? "+" : buffer;
    out.add(plain ? std::string(1, c) : quoted, text.content_at(at));
  }
}

Value urlencode(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "urlencode").done();
  TextWriter out(context);
  if (const Dict* dict = self.dict()) {
    bool first = true;
    for (const auto& [key, value] : dict->entries) {
      if (!first) out.add("&");
      first = false;
      add_quoted(context, key, true, out);
      out.add("=");
      add_quoted(context, value, true, out);
    }
  } else if (self.sequence() != nullptr) {
    throw Failure("expected a string or a dict before urlencode, got " + type_name(self));
  } else {
    add_quoted(context, self, false, out);
  }
  return out.value();
}

// Takes comments and tags out, and leaves one space for each run of blanks.
Value striptags(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "striptags").done();
  const Text text = to_text(context, self);
  const std::string& bytes = text.bytes();
  Text kept;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t open = std::min(bytes.find('<', at), bytes.size());
    const bool comment = bytes.compare(open, 4, "<!--") == 0;
    const std::size_t close = comment ? bytes.find("-->", open) : bytes.find('>', open);
    kept.append(text, at, close == std::string::npos ? bytes.size() : open);
    if (close == std::string::npos) break;
    at = close + (comment ? 3 : 1);
  }
  const Value words = context.call(context.attribute(Value(std::move(kept)), "split"), {});
  return context.call(context.attribute(Value(" "), "join"), Arguments{{words}, {}});
}

// A filter of Python's standard tojson settings, as transformers has them.
Value tojson(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "tojson");
  JsonStyle style;
  style.ensure_ascii = reader.boolean("ensure_ascii", false);
  const auto indent = reader.unless_none("indent");
  const auto separators = reader.unless_none("separators");
  style.sort_keys = reader.boolean("sort_keys", false);
  reader.done();
  if (indent) {
    style.has_indent = true;
    style.item_separator.assign(1, ',');
    const Integer width = std::clamp<Integer>(indent->as_integer().value_or(0), 0, 1 << 20);
    style.indent = indent->text() != nullptr ? indent->text()->bytes()
                                             : std::string(static_cast<std::size_t>(width), ' ');
  }
  if (separators) {
    const auto parts = context.items_of(*separators);
    if (parts->items.size() != 2)
      throw Failure("expected two separators of tojson, got " +
                    std::to_string(parts->items.size()));
    style.item_separator = expect_text(parts->items[0], "separators").bytes();
    style.key_separator = expect_text(parts->items[1], "separators").bytes();
  }
  return Value(to_json(context, self, style));
}

constexpr Function kFilters[] = {
    {"capitalize", method<kCapitalize>},
    {"center", center},
    {"e", escape},
    {"escape", escape},
    {"forceescape", escape},
    {"indent", indent},
    {"lower", lower},
    {"replace", replace},
    {"safe", safe},
    {"string", string},
    {"striptags", striptags},
    {"title", title},
    {"tojson", tojson},
    {"trim", trim},
    {"truncate", truncate},
    {"upper", upper},
    {"urlencode", urlencode},
    {"wordcount", wordcount},
};

}  // namespace

std::span<const Function> string_filters() { return kFilters; }

const Text& expect_text(const Value& value, const std::string& what) {
  const Text* text = value.text();
  if (text == nullptr) throw Failure("expected a string as " + what + ", got " + type_name(value));
  return *text;
}

Text html_escaped(Context& context, const Text& text) {
  if (text.markup()) return text;
  spend_characters(context, text);
  TextWriter out(context);
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text.bytes()[at];
    const char* escaped = c == '&'    ? "&amp;"
                          : c == '<'  ? "&lt;"
                          : c == '>'  ? "&gt;"
                          : c == '"'  ? "&#34;"
                          : c == '\'' ? "&#39;"
                                      : nullptr;
    if (escaped != nullptr) {
      out.add(escaped, text.content_at(at));
    } else {
      out.add(text, at, at + 1);
    }
  }
  Text result = out.take();
  result.set_markup();
  return result;
}

}  // namespace diffllama::jinja
