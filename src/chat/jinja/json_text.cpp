// json.dumps of Python.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "chat/jinja/context.h"

namespace diffllama::jinja {
namespace {

std::string unicode_escape(char32_t code) {
  std::array<char, 16> buffer{};
  if (code < 0x10000) {
    std::snprintf(buffer.data(), buffer.size(), "\\u%04x", static_cast<unsigned>(code));
  } else {
    const auto rest = static_cast<unsigned>(code) - 0x10000;
    std::snprintf(buffer.data(), buffer.size(), "\\u%04x\\u%04x", 0xd800 | rest >> 10,
                  0xdc00 | (rest & 0x3ff));
  }
  return buffer.data();
}

// What stands for a character in a JSON string; empty where it stands for itself.
std::string escape(char32_t code, bool ensure_ascii) {
  switch (code) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    case '\f':
      return "\\f";
    case '\b':
      return "\\b";
    default:
      return code < 0x20 || (ensure_ascii && code > 0x7e) ? unicode_escape(code) : "";
  }
}

class JsonWriter {
 public:
  JsonWriter(Context& context, const JsonStyle& style)
      : context_(context), out_(context), style_(style) {}

  void write(const Value& value) {
    context_.spend_steps(1);
    if (const Text* text = value.text()) {
      write_string(*text);
    } else if (const Dict* dict = value.dict()) {
      write_dict(*dict);
    } else if (value.is_sequence(Sequence::Kind::list) ||
               value.is_sequence(Sequence::Kind::tuple)) {
      write_list(value.sequence()->items);
    } else {
      out_.add(scalar(value), value.content());
    }
  }
  Text take() { return out_.take(); }

 private:
  static std::string scalar(const Value& value) {
    if (value.is_none()) return "null";
    if (value.is_boolean()) return is_true(value) ? "true" : "false";
    if (const auto integer = value.as_integer()) return std::to_string(*integer);
    const std::optional<double> number = value.as_double();
    if (!number) throw Failure("expected a value that JSON has, got " + type_name(value));
    if (std::isnan(*number)) return "NaN";
    if (std::isinf(*number)) return *number > 0 ? "Infinity" : "-Infinity";
    return float_text(*number);
  }

  void write_string(const Text& text) {
    out_.add("\"");
    std::size_t begin = 0;  // of what has not been written
    const std::string& bytes = text.bytes();
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t size = character_size(bytes, at);
      const std::string escaped = escape(character_at(bytes, at), style_.ensure_ascii);
      if (!escaped.empty()) {
        out_.add(text, begin, at);
        out_.add(escaped, text.content_at(at));
        begin = at + size;
      }
      at += size;
    }
    out_.add(text, begin, bytes.size());
    out_.add("\"");
  }

  void write_key(const Value& key) {
    if (const Text* text = key.text()) return write_string(*text);
    if (!key.is_number() && !key.is_none()) {
      throw Failure("expected keys that JSON has, got " + type_name(key));
    }
    out_.add("\"");
    out_.add(scalar(key), key.content());
    out_.add("\"");
  }

  void write_dict(const Dict& dict) {
    auto entries = dict.entries;
    if (style_.sort_keys) {
      std::ranges::stable_sort(entries, less, [](const auto& entry) { return entry.first; });
    }
    open("{");
    for (std::size_t i = 0; i < entries.size(); ++i) {
      separate(i);
      write_key(entries[i].first);
      out_.add(style_.key_separator);
      write(entries[i].second);
    }
    close("}", !entries.empty());
  }

  void write_list(const std::vector<Value>& items) {
    open("[");
    for (std::size_t i = 0; i < items.size(); ++i) {
      separate(i);
      write(items[i]);
    }
    close("]", !items.empty());
  }

  void open(const char* bracket) {
    out_.add(bracket);
    ++level_;
  }
  void separate(std::size_t index) {
    if (index > 0) out_.add(style_.item_separator);
    new_line();
  }
  void close(const char* bracket, bool has_items) {
    --level_;
    if (has_items) new_line();
    out_.add(bracket);
  }
  void new_line() {
    if (!style_.has_indent) return;
    out_.add("\n");
    for (int i = 0; i < level_; ++i) out_.add(style_.indent);
  }

  Context& context_;
  TextWriter out_;
  const JsonStyle& style_;
  int level_ = 0;
};

}  // namespace

Text to_json(Context& context, const Value& value, const JsonStyle& style) {
  JsonWriter writer(context, style);
  writer.write(value);
  return writer.take();
}

}  // namespace diffllama::jinja
