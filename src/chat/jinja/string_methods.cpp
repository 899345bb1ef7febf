// Methods of Python's str that search, replace and fill up.
#include <algorithm>

#include "chat/jinja/functions.h"
#include "chat/jinja/sizes.h"

namespace diffllama::jinja {
namespace {

using Integer = std::int64_t;

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

Text fill_of(ArgumentReader& reader) {
  const auto fill = reader.optional("fillchar");
  const std::string character = fill ? expect_text(*fill, "fillchar").bytes() : " ";
  if (count_characters(character) != 1) {
    throw Failure("expected one character to fill with, got " +
                  std::to_string(count_characters(character)));
  }
  return Text(character);
}

// Where the text stands: 0 left, 1 in the middle, 2 right.
template <int place>
Value justify(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "center, ljust or rjust");
  const Integer width = reader.integer("width", 0);
  const Text fill = fill_of(reader);
  reader.done();
  const auto size = static_cast<Integer>(count_characters(self.text()->bytes()));
  const Integer more = missing(width, size);
  const Integer left = place == 0 ? 0 : place == 2 ? more : more / 2 + (more & width & 1);
  context.spend_bytes(self.text()->size());
  Text out = repeated(context, fill, left);
  out.append(*self.text());
  out.append(repeated(context, fill, more - left));
  return Value(std::move(out));
}

Value zfill(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "zfill");
  const Integer width = reader.integer("width", 0);
  reader.done();
  const Text& text = *self.text();
  const std::size_t sign = text.bytes().starts_with('-') || text.bytes().starts_with('+') ? 1 : 0;
  context.spend_bytes(text.size());
  Text out = text.slice(0, sign);
  out.append(repeated(context, Text("0"),
                      missing(width, static_cast<Integer>(count_characters(text.bytes())))));
  out.append(text, sign, text.size());
  return Value(std::move(out));
}

Value expandtabs(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "expandtabs");
  const Integer width = reader.integer("tabsize", 8);
  reader.done();
  const Text& text = *self.text();
  context.spend_bytes(text.size());
  spend_characters(context, text);
  Text out;
  Integer column = 0;
  for (std::size_t at = 0; at < text.size(); at += character_size(text.bytes(), at)) {
    const char c = text.bytes()[at];
    if (c == '\t') {
      const Integer spaces = width > 0 ? width - column % width : 0;
      out.append(repeated(context, Text(" "), spaces));
      column += spaces;
    } else {
      out.append(text, at, at + character_size(text.bytes(), at));
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
  }
  return Value(std::move(out));
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

constexpr Function kMethods[] = {
    {"center", justify<1>},
    {"count", count},
    {"endswith", affix<true>},
    {"expandtabs", expandtabs},
    {"find", find<false, false>},
    {"index", find<false, true>},
    {"join", join},
    {"ljust", justify<0>},
    {"removeprefix", remove_affix<false>},
    {"removesuffix", remove_affix<true>},
    {"replace", replace},
    {"rfind", find<true, false>},
    {"rindex", find<true, true>},
    {"rjust", justify<2>},
    {"startswith", affix<false>},
    {"zfill", zfill},
};

}  // namespace

std::span<const Function> string_methods() { return kMethods; }

}  // namespace diffllama::jinja
