// Methods of Python's dict, list and tuple, and the attributes of `loop`.
#include <algorithm>

#include "chat/jinja/functions.h"

namespace diffllama::jinja {
namespace {

using Integer = std::int64_t;
using Kind = Sequence::Kind;

Value get(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "get");
  const Value key = reader.required("key");
  const Value otherwise = reader.optional("default").value_or(Value());
  reader.done();
  context.spend_steps(key.extent().weight);
  const Value* found = self.dict()->find(key);
  return found != nullptr ? *found : otherwise;
}

// `name`: as Python calls it.
Value view(Context& context, std::vector<Value> items, const char* name) {
  Value made = context.list(std::move(items), Kind::view);
  made.shared_sequence()->view = name;
  return made;
}

Value items(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "items").done();
  std::vector<Value> pairs;
  for (const auto& [key, value] : self.dict()->entries) {
    pairs.push_back(context.list({key, value}, Kind::tuple));
  }
  return view(context, std::move(pairs), "dict_items");
}

Value keys(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "keys").done();
  std::vector<Value> names;
  for (const auto& [key, value] : self.dict()->entries) names.push_back(key);
  return view(context, std::move(names), "dict_keys");
}

Value values(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "values").done();
  std::vector<Value> held;
  for (const auto& [key, value] : self.dict()->entries) held.push_back(value);
  return view(context, std::move(held), "dict_values");
}

Value copy(Context& /*context*/, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "copy").done();
  return self;  // never changes
}

Value count(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "count");
  const Value wanted = reader.required("value");
  reader.done();
  context.spend_steps(self.extent().weight);
  return static_cast<Integer>(std::ranges::count_if(
      self.sequence()->items, [&](const Value& item) { return equal(item, wanted); }));
}

Value index(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "index");
  const Value wanted = reader.required("value");
  reader.done();
  context.spend_steps(self.extent().weight);
  const auto& held = self.sequence()->items;
  const auto found =
      std::ranges::find_if(held, [&](const Value& item) { return equal(item, wanted); });
  if (found == held.end())
    throw Failure("expected a list that holds what index looks for, got none");
  return Integer{found - held.begin()};
}

constexpr Function kDictMethods[] = {
    {"copy", copy}, {"get", get}, {"items", items}, {"keys", keys}, {"values", values}};
constexpr Function kListMethods[] = {{"copy", copy}, {"count", count}, {"index", index}};
// Jinja's sandbox keeps templates from changing what they were given.
constexpr std::string_view kDictChanges[] = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::string_view kListChanges[] = {"append", "clear",  "extend",  "insert",
                                             "pop",    "remove", "reverse", "sort"};

const Function* find(std::span<const Function> table, std::string_view name) {
  const auto found = std::ranges::find(table, name, &Function::name);
  return found == table.end() ? nullptr : &*found;
}

Value bind(const Value& self, const Function& function) {
  const auto callable = std::make_shared<Callable>();
  callable->name = function.name;
  callable->extent = self.extent();
  callable->call = [self, call = function.call](Context& context, const Arguments& arguments) {
    return call(context, self, arguments);
  };
  return std::shared_ptr<const Callable>(callable);
}

const Function* method_of(const Value& value, std::string_view name) {
  if (value.text() != nullptr) {
    for (const auto table :
         {string_methods(), case_methods(), splitting_methods(), format_methods()}) {
      if (const Function* method = find(table, name)) return method;
    }
    return nullptr;
  }
  if (value.dict() != nullptr) return find(kDictMethods, name);
  if (value.is_sequence(Kind::list) || value.is_sequence(Kind::tuple) ||
      value.is_sequence(Kind::range)) {
    return find(kListMethods, name);
  }
  return nullptr;
}

Value cycle(const Loop& loop) {
  const auto callable = std::make_shared<Callable>();
  callable->name = "cycle";
  callable->call = [at = loop.index](Context&, const Arguments& arguments) -> Value {
    if (arguments.positional.empty()) throw Failure("expected values to cycle through, got none");
    return arguments.positional[at % arguments.positional.size()];
  };
  return std::shared_ptr<const Callable>(callable);
}

Value changed(const Loop& loop) {
  const auto callable = std::make_shared<Callable>();
  callable->name = "changed";
  callable->call = [last = loop.changed](Context& context, const Arguments& arguments) {
    // As text: the values themselves could hold the loop, and neither would ever go. The loop
    // itself, whose text is another in each round, is the same one.
    std::vector<Value> given = arguments.positional;
    for (Value& value : given) {
      if (value.loop() != nullptr) value = Value();
    }
    const Value values = context.list(std::move(given), Kind::tuple);
    const std::string now = representation(context, values).bytes();
    return Value(std::exchange(*last, now) != now);
  };
  return std::shared_ptr<const Callable>(callable);
}

}  // namespace

std::optional<Value> find_method(const Value& value, const std::string& name) {
  if (const Function* method = method_of(value, name)) return bind(value, *method);
  const bool changes =
      (value.dict() != nullptr && std::ranges::count(kDictChanges, name) > 0) ||
      (value.is_sequence(Kind::list) && std::ranges::count(kListChanges, name) > 0);
  if (!changes) return std::nullopt;
  return Undefined{"expected a template that changes nothing it was given, got a call of '" + name +
                   "' of " + type_name(value)};
}

Value loop_attribute(Context& /*context*/, const Loop& loop, const std::string& name) {
  const std::vector<Value>& items = loop.items->items;
  const auto index = static_cast<Integer>(loop.index);
  const auto size = static_cast<Integer>(items.size());
  if (name == "index") return index + 1;
  if (name == "index0") return index;
  if (name == "revindex") return size - index;
  if (name == "revindex0") return size - index - 1;
  if (name == "first") return index == 0;
  if (name == "last") return index + 1 == size;
  if (name == "length") return size;
  if (name == "depth") return loop.depth;
  if (name == "depth0") return loop.depth - 1;
  if (name == "previtem") {
    return index > 0 ? items[loop.index - 1] : Value(Undefined{"there is no previous item"});
  }
  if (name == "nextitem") {
    return index + 1 < size ? items[loop.index + 1] : Value(Undefined{"there is no next item"});
  }
  if (name == "cycle") return cycle(loop);
  if (name == "changed") return changed(loop);
  return Undefined{"a loop has no attribute '" + name + "'"};
}

}  // namespace diffllama::jinja
