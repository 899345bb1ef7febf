#include "chat/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace diffllama::jinja {

void Dict::set(const Value& key, Value value) {
  const auto [slot, added] = index_.try_emplace(key_of(key), entries.size());
  extent.hold(key.extent());
  extent.hold(value.extent());
  if (added) {
    entries.emplace_back(key, std::move(value));
  } else {
    entries[slot->second].second = std::move(value);
  }
}

const Value* Dict::find(const Value& key) const {
  const auto found = index_.find(key_of(key));
  return found == index_.end() ? nullptr : &entries[found->second].second;
}

const Value* Dict::find(std::string_view name) const {
  std::string key = "s";
  key += name;
  const auto found = index_.find(key);
  return found == index_.end() ? nullptr : &entries[found->second].second;
}

std::optional<std::int64_t> Value::as_integer() const {
  if (const bool* boolean = std::get_if<bool>(&storage_)) return *boolean ? 1 : 0;
  if (const std::int64_t* integer = std::get_if<std::int64_t>(&storage_)) return *integer;
  return std::nullopt;
}

std::optional<double> Value::as_double() const {
  if (const double* number = std::get_if<double>(&storage_)) return *number;
  if (const auto integer = as_integer()) return static_cast<double>(*integer);
  return std::nullopt;
}

Extent Value::extent() const {
  if (const Sequence* list = sequence()) return list->extent;
  if (const Dict* entries = dict()) return entries->extent;
  if (const Callable* function = callable()) return function->extent;
  if (const Loop* state = loop()) return state->items->extent;
  if (const Text* string = text()) return {0, 1 + string->size() / 64};
  return {};
}

const void* Value::identity() const {
  return std::visit(
      [](const auto& held) -> const void* {
        if constexpr (requires { held.get(); }) {
          return held.get();
        } else {
          return nullptr;
        }
      },
      storage_);
}

Value ArgumentReader::required(const std::string& name) {
  std::optional<Value> value = optional(name);
  if (!value) {
    throw Failure("expected the argument '" + name + "' of " + function_ + ", got none");
  }
  return *std::move(value);
}

std::optional<Value> ArgumentReader::optional(const std::string& name) {
  if (place_ < arguments_.positional.size()) return arguments_.positional[place_++];
  for (const auto& [given, value] : arguments_.named) {
    if (given == name) {
      ++named_taken_;
      return value;
    }
  }
  return std::nullopt;
}

std::optional<Value> ArgumentReader::unless_none(const std::string& name) {
  std::optional<Value> value = optional(name);
  return value && value->is_none() ? std::nullopt : value;
}

bool ArgumentReader::boolean(const std::string& name, bool otherwise) {
  const std::optional<Value> value = optional(name);
  return value ? is_true(*value) : otherwise;
}

std::int64_t ArgumentReader::integer(const std::string& name, std::int64_t otherwise) {
  const std::optional<Value> value = optional(name);
  if (!value) return otherwise;
  const std::optional<std::int64_t> integer = value->as_integer();
  if (!integer) {
    throw Failure("expected an integer as '" + name + "' of " + function_ + ", got " +
                  type_name(*value));
  }
  return *integer;
}

void ArgumentReader::done() const {
  if (place_ < arguments_.positional.size()) {
    throw Failure("expected at most " + std::to_string(place_) + " arguments of " + function_ +
                  ", got " + std::to_string(arguments_.positional.size()));
  }
  if (named_taken_ < arguments_.named.size()) {
    throw Failure("expected arguments that " + function_ + " has, got one it has not or twice: '" +
                  arguments_.named.back().first + "'");
  }
}

std::string type_name(const Value& value) {
  if (const Sequence* sequence = value.sequence()) {
    switch (sequence->kind) {
      case Sequence::Kind::list:
        return "a list";
      case Sequence::Kind::tuple:
        return "a tuple";
      case Sequence::Kind::range:
        return "a range";
      case Sequence::Kind::view:
        return "a view of a dict";
      case Sequence::Kind::generator:
        return "a generator";
    }
  }
  if (const Undefined* undefined = value.undefined()) return "undefined (" + undefined->why + ")";
  if (value.is_none()) return "None";
  if (value.is_boolean()) return "a boolean";
  if (value.is_integer()) return "an integer";
  if (value.is_float()) return "a float";
  if (value.text() != nullptr) return "a string";
  if (value.dict() != nullptr) return "a dict";
  if (value.name_space() != nullptr) return "a namespace";
  if (value.loop() != nullptr) return "a loop";
  return "a function";
}

bool is_true(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (const auto number = value.as_double()) return *number != 0;
  if (const Text* text = value.text()) return !text->empty();
  if (const Sequence* sequence = value.sequence()) {
    return sequence->kind == Sequence::Kind::generator || !sequence->items.empty();
  }
  if (const Dict* dict = value.dict()) return !dict->entries.empty();
  return true;
}

namespace {

// -1, 0, 1, or nothing where a NaN is in it. Exact, also where an integer is no double.
std::optional<int> compare_numbers(const Value& a, const Value& b) {
  const auto sign = [](auto x, auto y) { return x < y ? -1 : x > y ? 1 : 0; };
  const auto left = a.as_integer();
  const auto right = b.as_integer();
  if (left && right) return sign(*left, *right);
  const double x = *a.as_double();
  const double y = *b.as_double();
  if (std::isnan(x) || std::isnan(y)) return std::nullopt;
  return sign(static_cast<long double>(left ? *left : 0) + (left ? 0 : x),
              static_cast<long double>(right ? *right : 0) + (right ? 0 : y));
}

bool equal_sequences(const Sequence& a, const Sequence& b) {
  return a.kind == b.kind && a.kind <= Sequence::Kind::range &&
         std::ranges::equal(a.items, b.items, equal);
}

bool equal_dicts(const Dict& a, const Dict& b) {
  return a.entries.size() == b.entries.size() && std::ranges::all_of(a.entries, [&](auto& entry) {
           const Value* other = b.find(entry.first);
           return other != nullptr && equal(entry.second, *other);
         });
}

}  // namespace

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.text() != nullptr && b.text() != nullptr) return a.text()->bytes() == b.text()->bytes();
  if (a.identity() != nullptr && a.identity() == b.identity()) return true;
  if (a.sequence() != nullptr && b.sequence() != nullptr) {
    return equal_sequences(*a.sequence(), *b.sequence());
  }
  if (a.dict() != nullptr && b.dict() != nullptr) return equal_dicts(*a.dict(), *b.dict());
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

bool less(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == -1;
  // Bytes of UTF-8 stand in the order of code points.
  if (a.text() != nullptr && b.text() != nullptr) return a.text()->bytes() < b.text()->bytes();
  const Sequence* x = a.sequence();
  const Sequence* y = b.sequence();
  if (x != nullptr && y != nullptr && x->kind == y->kind && x->kind <= Sequence::Kind::tuple) {
    for (std::size_t i = 0; i < x->items.size() && i < y->items.size(); ++i) {
      if (!equal(x->items[i], y->items[i])) return less(x->items[i], y->items[i]);
    }
    return x->items.size() < y->items.size();
  }
  throw Failure("expected values that have an order, got " + type_name(a) + " and " + type_name(b));
}

std::string key_of(const Value& value) {
  if (const Text* text = value.text()) return "s" + text->bytes();
  if (const auto integer = value.as_integer()) return std::string("i") + std::to_string(*integer);
  if (const auto number = value.as_double()) {
    if (*number == std::floor(*number) && std::fabs(*number) < 9e18) {
      return std::string("i") + std::to_string(static_cast<std::int64_t>(*number));
    }
    char digits[40];
    std::snprintf(digits, sizeof digits, "f%a", *number);
    return digits;
  }
  if (value.is_none()) return "n";
  if (value.is_undefined()) return "u";
  if (value.is_sequence(Sequence::Kind::tuple)) {
    std::string key = "t";
    for (const Value& item : value.sequence()->items) {
      const std::string part = key_of(item);
      key += std::to_string(part.size()) + ":" + part;
    }
    return key;
  }
  if (value.sequence() != nullptr || value.dict() != nullptr) {
    throw Failure("expected a key of a dict, got " + type_name(value));
  }
  return std::string("p") + std::to_string(reinterpret_cast<std::uintptr_t>(value.identity()));
}

}  // namespace diffllama::jinja
