#include "chat/jinja/context.h"

#include <algorithm>

#include "chat/jinja/functions.h"

namespace diffllama::jinja {
namespace {

constexpr std::uint64_t kBytesOfAStep = 256;  // that many are copied in about the time of a step

const Value* find_item(const Sequence& sequence, std::int64_t index) {
  const auto size = static_cast<std::int64_t>(sequence.items.size());
  if (index < 0) index += size;
  if (index < 0 || index >= size) return nullptr;
  return &sequence.items[static_cast<std::size_t>(index)];
}

bool has_items(const Sequence& sequence) { return sequence.kind <= Sequence::Kind::range; }

Value undefined_item(const Value& value, const std::string& key) {
  if (const Undefined* undefined = value.undefined()) throw Failure(undefined->why);
  return Undefined{type_name(value) + " has no " + key.substr(0, 60)};
}

}  // namespace

Context::~Context() {
  for (const auto& space : namespaces_) space->attributes = {};
}

void Context::spend_steps(std::uint64_t steps) {
  steps_ += steps;
  if (steps_ > limits_.steps) {
    throw Failure("expected a template that ends within " + std::to_string(limits_.steps) +
                  " steps, got one that goes on");
  }
}

void Context::spend_bytes(std::uint64_t bytes) {
  bytes_ += bytes;
  if (bytes_ > limits_.bytes) {
    throw Failure("expected a template that makes at most " + std::to_string(limits_.bytes) +
                  " bytes of text and lists, got one that makes more");
  }
  spend_steps(bytes / kBytesOfAStep);
}

void Context::check(const Extent& extent) const {
  if (extent.depth > limits_.value_depth) {
    throw Failure("expected at most " + std::to_string(limits_.value_depth) +
                  " lists and dicts in one another, got more");
  }
  if (extent.weight > limits_.value_weight) {
    throw Failure("expected lists and dicts of at most " + std::to_string(limits_.value_weight) +
                  " values, got more");
  }
}

Value Context::text(Text text) {
  spend_bytes(text.size());
  return Value(std::move(text));
}

Value Context::list(std::vector<Value> items, Sequence::Kind kind) {
  spend_bytes(items.size() * sizeof(Value));
  const auto sequence = std::make_shared<Sequence>();
  sequence->kind = kind;
  for (const Value& item : items) {
    sequence->extent.hold(item.extent());
    check(sequence->extent);
  }
  sequence->items = std::move(items);
  return sequence;
}

Value Context::dict(Dict dict) {
  spend_bytes(dict.entries.size() * 4 * sizeof(Value));
  check(dict.extent);
  return std::make_shared<const Dict>(std::move(dict));
}

Value Context::new_namespace(Dict attributes) {
  spend_bytes(sizeof(Namespace));
  for (const auto& [name, value] : attributes.entries) {
    if (name.text() == nullptr || name.text()->bytes().starts_with('_')) {
      throw Failure("expected names of a namespace without a leading underscore, got another");
    }
  }
  namespaces_.push_back(std::make_shared<Namespace>(Namespace{std::move(attributes)}));
  return namespaces_.back();
}

void Context::assign(Namespace& space, const std::string& name, Value value) {
  if (name.starts_with('_')) {
    throw Failure("expected names of a namespace without a leading underscore, got " + name);
  }
  space.attributes.set(Value(name), std::move(value));
}

std::shared_ptr<const Sequence> Context::items_of(const Value& value) {
  if (const std::shared_ptr<Sequence> sequence = value.shared_sequence()) {
    if (sequence->kind != Sequence::Kind::generator) return sequence;
    if (sequence->consumed) return std::make_shared<const Sequence>();
    sequence->consumed = true;
    return sequence;
  }
  std::vector<Value> items;
  if (const Text* text = value.text()) {
    spend_bytes(text->size() * sizeof(Text));
    for (std::size_t at = 0; at < text->size();) {
      const std::size_t end = at + character_size(text->bytes(), at);
      items.emplace_back(text->slice(at, end));
      at = end;
    }
  } else if (const Dict* dict = value.dict()) {
    for (const auto& [key, ignored] : dict->entries) items.push_back(key);
  } else if (!value.is_undefined()) {
    throw Failure("expected something to run through, got " + type_name(value));
  }
  return list(std::move(items)).shared_sequence();
}

Value Context::attribute(const Value& value, const std::string& name) {
  if (const auto space = value.name_space()) {
    const Value* found = space->attributes.find(name);
    return found != nullptr ? *found : undefined_item(value, "attribute '" + name + "'");
  }
  if (const Loop* loop = value.loop()) return loop_attribute(*this, *loop, name);
  if (std::optional<Value> method = find_method(value, name)) return *std::move(method);
  if (const Dict* dict = value.dict()) {
    if (const Value* found = dict->find(name)) return *found;
  }
  if (const Sequence* sequence = value.sequence(); sequence != nullptr && sequence->is_group) {
    if (name == "grouper") return sequence->items[0];
    if (name == "list") return sequence->items[1];
  }
  if (const Callable* callable = value.callable();
      callable != nullptr && callable->macro && name == "name") {
    return Value(callable->name);
  }
  return undefined_item(value, "attribute '" + name + "'");
}

Value Context::item(const Value& value, const Value& key) {
  const std::optional<std::int64_t> index = key.as_integer();
  if (const Dict* dict = value.dict()) {
    const bool can_be_key = key.dict() == nullptr &&
                            (key.sequence() == nullptr || key.is_sequence(Sequence::Kind::tuple));
    spend_steps(key.extent().weight);
    if (const Value* found = can_be_key ? dict->find(key) : nullptr) return *found;
  } else if (const Sequence* sequence = value.sequence(); sequence != nullptr && index) {
    const Value* found = has_items(*sequence) ? find_item(*sequence, *index) : nullptr;
    return found != nullptr ? *found : undefined_item(value, "item " + std::to_string(*index));
  } else if (const Text* text = value.text(); text != nullptr && index) {
    return character(*this, *text, *index);
  }
  // Python's templates look for an attribute then.
  if (const Text* name = key.text()) return attribute(value, name->bytes());
  return undefined_item(value, index ? "item " + std::to_string(*index) : "such item");
}

bool Context::equal(const Value& a, const Value& b) {
  spend_steps(std::min(a.extent().weight, b.extent().weight));
  return jinja::equal(a, b);
}

bool Context::less(const Value& a, const Value& b) {
  spend_steps(std::min(a.extent().weight, b.extent().weight));
  return jinja::less(a, b);
}

bool Context::contains(const Value& container, const Value& value) {
  spend_steps(container.extent().weight);
  if (const Text* text = container.text()) {
    const Text* part = value.text();
    if (part == nullptr) {
      throw Failure("expected a string before `in` and a string, got " + type_name(value));
    }
    return text->bytes().find(part->bytes()) != std::string::npos;
  }
  if (const Dict* dict = container.dict()) return dict->find(value) != nullptr;
  const auto items = items_of(container);
  return std::ranges::any_of(items->items,
                             [&](const Value& item) { return jinja::equal(item, value); });
}

Value Context::call(const Value& callable, const Arguments& arguments) {
  if (const auto function = callable.shared_callable()) return function->call(*this, arguments);
  if (const Loop* loop = callable.loop()) {
    if (!loop->recurse) throw Failure("expected a loop that says `recursive`, got another");
    const auto recurse = loop->recurse;
    return recurse(*this, arguments);
  }
  if (const Undefined* undefined = callable.undefined()) throw Failure(undefined->why);
  throw Failure("expected a function to call, got " + type_name(callable));
}

Value Context::filter(const std::string& name, const Value& value, const Arguments& arguments) {
  const Function* function = find_filter(name);
  if (function == nullptr) throw Failure("expected a known filter, got '" + name + "'");
  return function->call(*this, value, arguments);
}

bool Context::test(const std::string& name, const Value& value, const Arguments& arguments) {
  const Function* function = find_test(name);
  if (function == nullptr) throw Failure("expected a known test, got '" + name + "'");
  return is_true(function->call(*this, value, arguments));
}

}  // namespace diffllama::jinja
