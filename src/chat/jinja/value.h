#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "chat/jinja/text.h"

namespace diffllama::jinja {

class Context;
class Value;
struct Arguments;

/// What goes wrong while a template runs; who runs it adds the line and makes a FormatError of it.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// What a name, attribute or item that is not there gives: prints as nothing, is false and empty,
/// and fails with `why` where more is asked of it.
struct Undefined {
  std::string why;
};

struct None {};

/// How much going through all of a value takes. What lists share counts each time.
struct Extent {
  int depth = 0;           // levels of nesting
  std::size_t weight = 1;  // values and pieces of strings in it

  /// Makes room for a value inside.
  void hold(const Extent& inner) {
    depth = depth > inner.depth ? depth : inner.depth + 1;
    weight += inner.weight;
  }
};

/// A sequence; what of Python's it stands for decides what may be done with it. Its items never
/// change.
struct Sequence {
  enum class Kind {
    list,
    tuple,
    range,      // items are numbers
    view,       // dict.items(), keys(), values(): has a length, no [index]
    generator,  // what map, select, ... give: can be run through, once, and nothing else
  };
  Kind kind = Kind::list;
  std::vector<Value> items;
  Extent extent = {1, 1};
  bool consumed = false;                          // of a generator
  bool is_group = false;                          // of a tuple: its items are .grouper and .list
  std::array<std::int64_t, 3> range = {0, 0, 1};  // of a range: start, stop, step
  const char* view = "dict_items";                // of a view: what Python calls it
};

/// Keys and values in the order in which they came. Never changes once others can see it.
class Dict {
 public:
  std::vector<std::pair<Value, Value>> entries;
  Extent extent = {1, 1};

  /// Adds an entry, or gives the one of this key another value. Throws Failure for a key that
  /// cannot be one, such as a list.
  void set(const Value& key, Value value);
  const Value* find(const Value& key) const;
  const Value* find(std::string_view name) const;

 private:
  std::map<std::string, std::size_t, std::less<>> index_;  // by what tells keys apart
};

/// namespace(...): the one object that templates may change.
struct Namespace {
  Dict attributes;
};

/// A macro, a global function, or a method bound to its object.
struct Callable {
  std::string name;
  std::function<Value(Context&, const Arguments&)> call;
  Extent extent = {};  // of what it is bound to
  bool macro = false;
};

/// The variable `loop`, of one iteration.
struct Loop {
  std::shared_ptr<const Sequence> items;
  std::size_t index = 0;  // from 0
  std::int64_t depth = 1;
  std::function<Value(Context&, const Arguments&)> recurse;  // empty: not a recursive loop
  std::shared_ptr<std::string> changed;  // what loop.changed saw last, of all iterations
};

/// Any value of a template, with the semantics of Python's type of the same name.
class Value {
 public:
  using Storage = std::variant<Undefined, None, bool, std::int64_t, double,
                               std::shared_ptr<const Text>, std::shared_ptr<Sequence>,
                               std::shared_ptr<const Dict>, std::shared_ptr<Namespace>,
                               std::shared_ptr<const Callable>, std::shared_ptr<const Loop>>;

  Value() : storage_(None{}) {}
  Value(Undefined value) : storage_(std::move(value)) {}
  /// Of bool alone, or a pointer would become one.
  template <std::same_as<bool> Boolean>
  Value(Boolean value, bool content = false) : storage_(value), content_(content) {}
  Value(std::int64_t value, bool content = false) : storage_(value), content_(content) {}
  Value(double value, bool content = false) : storage_(value), content_(content) {}
  explicit Value(Text text) : storage_(std::make_shared<const Text>(std::move(text))) {}
  explicit Value(std::string text) : Value(Text(std::move(text))) {}
  explicit Value(const char* text) : Value(std::string(text)) {}
  Value(std::shared_ptr<Sequence> sequence) : storage_(std::move(sequence)) {}
  Value(std::shared_ptr<const Dict> dict) : storage_(std::move(dict)) {}
  Value(std::shared_ptr<Namespace> space) : storage_(std::move(space)) {}
  Value(std::shared_ptr<const Callable> callable) : storage_(std::move(callable)) {}
  Value(std::shared_ptr<const Loop> loop) : storage_(std::move(loop)) {}
  static Value none(bool content) {
    Value value;
    value.content_ = content;
    return value;
  }

  /// Whether a number, boolean or None came out of the conversation: its text then does too.
  bool content() const { return content_; }

  bool is_undefined() const { return std::holds_alternative<Undefined>(storage_); }
  bool is_none() const { return std::holds_alternative<None>(storage_); }
  bool is_boolean() const { return std::holds_alternative<bool>(storage_); }
  bool is_integer() const { return std::holds_alternative<std::int64_t>(storage_); }
  bool is_float() const { return std::holds_alternative<double>(storage_); }
  /// As in Python, booleans are numbers.
  bool is_number() const { return is_boolean() || is_integer() || is_float(); }

  const Undefined* undefined() const { return std::get_if<Undefined>(&storage_); }
  const Text* text() const { return pointee<std::shared_ptr<const Text>>(); }
  const Sequence* sequence() const { return pointee<std::shared_ptr<Sequence>>(); }
  const Dict* dict() const { return pointee<std::shared_ptr<const Dict>>(); }
  const Callable* callable() const { return pointee<std::shared_ptr<const Callable>>(); }
  const Loop* loop() const { return pointee<std::shared_ptr<const Loop>>(); }
  std::shared_ptr<Sequence> shared_sequence() const { return shared<std::shared_ptr<Sequence>>(); }
  std::shared_ptr<Namespace> name_space() const { return shared<std::shared_ptr<Namespace>>(); }
  std::shared_ptr<const Callable> shared_callable() const {
    return shared<std::shared_ptr<const Callable>>();
  }
  bool is_sequence(Sequence::Kind kind) const {
    return sequence() != nullptr && sequence()->kind == kind;
  }

  /// A boolean or an integer, as arithmetic and indices take them.
  std::optional<std::int64_t> as_integer() const;
  std::optional<double> as_double() const;
  Extent extent() const;
  /// The address that `sameas` compares; null for values without one.
  const void* identity() const;
  const Storage& storage() const { return storage_; }

 private:
  template <class Pointer>
  const typename Pointer::element_type* pointee() const {
    const Pointer* pointer = std::get_if<Pointer>(&storage_);
    return pointer == nullptr ? nullptr : pointer->get();
  }
  template <class Pointer>
  Pointer shared() const {
    const Pointer* pointer = std::get_if<Pointer>(&storage_);
    return pointer == nullptr ? nullptr : *pointer;
  }

  Storage storage_;
  bool content_ = false;
};

/// What a call passes.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

/// Takes a call's arguments in the order of the parameters, each by place or by name.
class ArgumentReader {
 public:
  /// `function` stands for it in messages.
  ArgumentReader(const Arguments& arguments, std::string function)
      : arguments_(arguments), function_(std::move(function)) {}
  /// Throws Failure where it is absent.
  Value required(const std::string& name);
  std::optional<Value> optional(const std::string& name);
  /// As optional, and None counts as absent.
  std::optional<Value> unless_none(const std::string& name);
  bool boolean(const std::string& name, bool otherwise);
  std::int64_t integer(const std::string& name, std::int64_t otherwise);
  /// Throws Failure for arguments that nobody took.
  void done() const;

 private:
  const Arguments& arguments_;
  std::string function_;
  std::size_t place_ = 0;
  std::size_t named_taken_ = 0;
};

/// "'str' object" and so on, as Python calls a value's type.
std::string type_name(const Value& value);
/// Python's bool(value).
bool is_true(const Value& value);
/// Python's a == b. The nesting of values is bounded, and with it the recursion.
bool equal(const Value& a, const Value& b);
/// Python's a < b. Throws Failure for values without an order.
bool less(const Value& a, const Value& b);
/// What tells dictionary keys apart: equal keys give the same. Throws Failure for a list or dict.
std::string key_of(const Value& value);

}  // namespace diffllama::jinja
