#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chat/jinja/value.h"

namespace diffllama::jinja {

/// What a template may take before it is refused.
struct Limits {
  /// Expressions, statements, and pieces of work of the same order.
  std::uint64_t steps = 20'000'000;
  /// Of all strings and lists that it makes, in bytes, whether they are still there or not.
  std::uint64_t bytes = std::uint64_t{512} << 20;
  /// Expressions and statements inside one another, those of called macros included.
  int depth = 800;
  /// Levels of lists and dicts in one another, and what one may hold altogether.
  int value_depth = 200;
  std::size_t value_weight = std::size_t{1} << 22;
};

/// What the functions of a template share while it runs: its budget.
class Context {
 public:
  explicit Context(const Limits& limits) : limits_(limits) {}
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  /// Throw Failure once there is none left.
  void spend_steps(std::uint64_t steps);
  void spend_bytes(std::uint64_t bytes);

  // Values whose making is paid for. Throw Failure for those that are too deep or too large.
  Value text(Text text);
  Value list(std::vector<Value> items, Sequence::Kind kind = Sequence::Kind::list);
  Value dict(Dict dict);
  Value new_namespace(Dict attributes);
  /// Gives an attribute of a namespace a value.
  void assign(Namespace& space, const std::string& name, Value value);

  /// The items of what can be run through; a generator is consumed by it. Keep the pointer while
  /// they are used: for a string or dict nobody else does.
  std::shared_ptr<const Sequence> items_of(const Value& value);
  /// The value's attribute as `value.name` has it, or undefined.
  Value attribute(const Value& value, const std::string& name);
  /// value[key], or undefined.
  Value item(const Value& value, const Value& key);
  /// Python's a == b, a < b and `a in b`, paid for.
  bool equal(const Value& a, const Value& b);
  bool less(const Value& a, const Value& b);
  bool contains(const Value& container, const Value& value);

  Value call(const Value& callable, const Arguments& arguments);
  /// Those of a name; throw Failure for names that there are not.
  Value filter(const std::string& name, const Value& value, const Arguments& arguments);
  bool test(const std::string& name, const Value& value, const Arguments& arguments);

  const Limits& limits() const { return limits_; }

 private:
  void check(const Extent& extent) const;

  Limits limits_;
  std::uint64_t steps_ = 0;
  std::uint64_t bytes_ = 0;
  /// All that were made: they may hold one another, and are emptied at the end.
  std::vector<std::shared_ptr<Namespace>> namespaces_;
};

/// Puts a text together and pays as it grows.
class TextWriter {
 public:
  explicit TextWriter(Context& context) : context_(context) {}
  void add(const Text& text) { add(text, 0, text.size()); }
  void add(const Text& text, std::size_t begin, std::size_t end) {
    context_.spend_bytes(end - begin);
    text_.append(text, begin, end);
  }
  void add(std::string_view bytes, bool content = false) {
    context_.spend_bytes(bytes.size());
    text_.append(bytes, content);
  }
  std::size_t size() const { return text_.size(); }
  Text take() { return std::move(text_); }
  Value value() { return Value(take()); }

 private:
  Context& context_;
  Text text_;
};

// Python's text of values.

/// str(value): strings as they are.
Text to_text(Context& context, const Value& value);
/// repr(value): strings in quotes.
Text representation(Context& context, const Value& value);
/// A float as Python writes it: the shortest digits that give it back.
std::string float_text(double number);

/// json.dumps of Python with these settings.
struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool has_indent = false;
  std::string indent;  // of one level
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
/// Throws Failure for values that JSON has not, undefined ones among them.
Text to_json(Context& context, const Value& value, const JsonStyle& style);

}  // namespace diffllama::jinja
