// Methods of Python's str that strip and split.
#include <algorithm>

#include "chat/jinja/functions.h"
#include "chat/jinja/sizes.h"

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

// ---- Stripping

struct Ends {
  bool left, right;
};

Text stripped(const Text& text, const std::optional<Value>& characters, Ends ends) {
  const std::string& bytes = text.bytes();
  const std::string set = characters ? expect_text(*characters, "chars").bytes() : "";
  const auto goes = [&](std::size_t at) {
    if (!characters) return is_space(character_at(bytes, at));
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
    while (at < bytes.size() && is_space(character_at(bytes, at)) == spaces) {
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
  Strings all = split_at_spaces(context, text, -1);
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
  spend_lines(context, *self.text());
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

constexpr Function kMethods[] = {
    {"lstrip", strip<true, false>},  {"partition", partition<false>},
    {"rpartition", partition<true>}, {"rsplit", rsplit},
    {"rstrip", strip<false, true>},  {"split", split},
    {"splitlines", splitlines},      {"strip", strip<true, true>},
};

}  // namespace

std::span<const Function> splitting_methods() { return kMethods; }

Text trimmed(const Text& text) { return stripped(text, {}, {true, true}); }

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
    if (!ends_line(character_at(bytes, at))) {
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
