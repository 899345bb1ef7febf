// Jinja's filters of lists, dicts and whatever else can be run through.
#include <algorithm>
#include <set>

#include "chat/jinja/functions.h"
#include "chat/jinja/sizes.h"

namespace diffllama::jinja {
namespace {

using Integer = std::int64_t;
using Kind = Sequence::Kind;

Value length(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "length").done();
  if (const Text* text = self.text()) {
    context.spend_steps(self.extent().weight);
    return static_cast<Integer>(count_characters(text->bytes()));
  }
  if (const Dict* dict = self.dict()) return static_cast<Integer>(dict->entries.size());
  if (self.is_undefined()) return Integer{0};
  const Sequence* sequence = self.sequence();
  if (sequence == nullptr || sequence->kind == Kind::generator) {
    throw Failure("expected something that has a length, got " + type_name(self));
  }
  return static_cast<Integer>(sequence->items.size());
}

Value first(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "first").done();
  const auto items = context.items_of(self);
  return items->items.empty() ? Value(Undefined{"there is no first item"}) : items->items.front();
}

Value last(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "last").done();
  if (self.is_sequence(Kind::generator)) {
    throw Failure("expected something that can be reversed, got " + type_name(self));
  }
  const auto items = context.items_of(self);
  return items->items.empty() ? Value(Undefined{"there is no last item"}) : items->items.back();
}

Value list(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "list").done();
  return context.list(context.items_of(self)->items);
}

Value join(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "join");
  const Text between = to_text(context, reader.optional("d").value_or(Value("")));
  const auto attribute = reader.optional("attribute");
  reader.done();
  const auto items = context.items_of(self);
  TextWriter out(context);
  for (std::size_t i = 0; i < items->items.size(); ++i) {
    if (i > 0) out.add(between);
    out.add(to_text(context, look_up(context, items->items[i], attribute)));
  }
  return out.value();
}

Value reverse(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "reverse").done();
  auto items = context.items_of(self)->items;
  std::ranges::reverse(items);
  if (self.text() == nullptr) return context.list(std::move(items), Kind::generator);
  TextWriter out(context);
  for (const Value& character : items) out.add(*character.text());
  return out.value();
}

Value dict_items(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "items").done();
  if (self.is_undefined()) return context.list({}, Kind::generator);
  if (self.dict() == nullptr) throw Failure("expected a dict for items, got " + type_name(self));
  const Value view = context.call(context.attribute(self, "items"), {});
  return context.list(view.sequence()->items, Kind::generator);
}

// ---- Sorting

Value ignore_case(Context& context, const Value& value) {
  return value.text() != nullptr ? Value(lower_text(context, *value.text())) : value;
}

struct Keyed {
  std::vector<Value> key;
  Value value;
};

// A stable order by key; a comparison that fails ends it.
std::vector<Value> sorted(Context& context, std::vector<Keyed> items, bool descending) {
  const auto before = [&](const Keyed& a, const Keyed& b) {
    context.spend_steps(1);
    for (std::size_t i = 0; i < a.key.size(); ++i) {
      if (!context.equal(a.key[i], b.key[i])) return context.less(a.key[i], b.key[i]);
    }
    return false;
  };
  if (descending) {
    std::ranges::stable_sort(items, [&](const Keyed& a, const Keyed& b) { return before(b, a); });
  } else {
    std::ranges::stable_sort(items, before);
  }
  std::vector<Value> result;
  result.reserve(items.size());
  for (Keyed& item : items) result.push_back(std::move(item.value));
  return result;
}

// "a,b" of sort and its like: several attributes.
std::vector<Value> attribute_list(const std::optional<Value>& attribute) {
  std::vector<Value> names;
  if (!attribute || attribute->is_none()) return {Value()};
  if (attribute->text() == nullptr) return {*attribute};
  const std::string& text = attribute->text()->bytes();
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    names.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return names;
}

Value sort(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "sort");
  const bool descending = reader.boolean("reverse", false);
  const bool case_sensitive = reader.boolean("case_sensitive", false);
  const std::vector<Value> attributes = attribute_list(reader.optional("attribute"));
  reader.done();
  std::vector<Keyed> items;
  const auto all = context.items_of(self);
  for (const Value& item : all->items) {
    Keyed& keyed = items.emplace_back(Keyed{{}, item});
    for (const Value& attribute : attributes) {
      const Value key = look_up(context, item, attribute);
      keyed.key.push_back(case_sensitive ? key : ignore_case(context, key));
    }
  }
  return context.list(sorted(context, std::move(items), descending));
}

Value dictsort(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "dictsort");
  const bool case_sensitive = reader.boolean("case_sensitive", false);
  const std::string by = expect_text(reader.optional("by").value_or(Value("key")), "by").bytes();
  const bool descending = reader.boolean("reverse", false);
  reader.done();
  if (by != "key" && by != "value") throw Failure("expected by to be key or value, got " + by);
  if (self.dict() == nullptr) throw Failure("expected a dict for dictsort, got " + type_name(self));
  std::vector<Keyed> items;
  for (const auto& [key, value] : self.dict()->entries) {
    const Value& chosen = by == "key" ? key : value;
    items.push_back({{case_sensitive ? chosen : ignore_case(context, chosen)},
                     context.list({key, value}, Kind::tuple)});
  }
  return context.list(sorted(context, std::move(items), descending));
}

template <bool largest>
Value extreme(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, largest ? "max" : "min");
  const bool case_sensitive = reader.boolean("case_sensitive", false);
  const auto attribute = reader.optional("attribute");
  reader.done();
  const auto items = context.items_of(self);
  if (items->items.empty()) return Undefined{"there is no item to choose from"};
  const auto key_of_item = [&](const Value& item) {
    const Value key = look_up(context, item, attribute);
    return case_sensitive ? key : ignore_case(context, key);
  };
  Value best = items->items.front();
  Value best_key = key_of_item(best);
  for (const Value& item : items->items) {
    const Value key = key_of_item(item);
    if (largest ? context.less(best_key, key) : context.less(key, best_key)) {
      best = item;
      best_key = key;
    }
  }
  return best;
}

Value sum(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "sum");
  const auto attribute = reader.optional("attribute");
  Value total = reader.optional("start").value_or(Value(Integer{0}));
  reader.done();
  const auto all = context.items_of(self);
  for (const Value& item : all->items) {
    total = arithmetic(context, "+", total, look_up(context, item, attribute));
  }
  return total;
}

Value unique(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "unique");
  const bool case_sensitive = reader.boolean("case_sensitive", false);
  const auto attribute = reader.optional("attribute");
  reader.done();
  std::set<std::string> seen;
  std::vector<Value> kept;
  const auto all = context.items_of(self);
  for (const Value& item : all->items) {
    Value key = look_up(context, item, attribute);
    if (!case_sensitive) key = ignore_case(context, key);
    context.spend_steps(key.extent().weight);
    if (seen.insert(key_of(key)).second) kept.push_back(item);
  }
  return context.list(std::move(kept), Kind::generator);
}

Value groupby(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "groupby");
  const Value attribute = reader.required("attribute");
  const auto otherwise = reader.optional("default");
  const bool case_sensitive = reader.boolean("case_sensitive", false);
  reader.done();
  const auto key_of_item = [&](const Value& item) {
    const Value key = look_up(context, item, attribute);
    return key.is_undefined() && otherwise ? *otherwise : key;
  };
  std::vector<Keyed> items;
  const auto all = context.items_of(self);
  for (const Value& item : all->items) {
    const Value key = key_of_item(item);
    items.push_back({{case_sensitive ? key : ignore_case(context, key)}, item});
  }
  std::vector<Value> groups;
  std::vector<Value> group;
  std::optional<Value> group_key;
  const auto close = [&] {
    if (group.empty()) return;
    Value pair =
        context.list({key_of_item(group.front()), context.list(std::move(group))}, Kind::tuple);
    pair.shared_sequence()->is_group = true;
    groups.push_back(std::move(pair));
    group.clear();
  };
  for (const Value& item : sorted(context, std::move(items), false)) {
    const Value key = case_sensitive ? key_of_item(item) : ignore_case(context, key_of_item(item));
    if (group_key && !context.equal(*group_key, key)) close();
    group_key = key;
    group.push_back(item);
  }
  close();
  return context.list(std::move(groups));
}

// ---- Cutting

Value batch(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "batch");
  const Integer count = reader.integer("linecount", 0);
  const auto fill = reader.unless_none("fill_with");
  reader.done();
  if (count < 1) throw Failure("expected a batch of at least 1, got " + std::to_string(count));
  std::vector<Value> batches;
  std::vector<Value> current;
  const auto all = context.items_of(self);
  for (const Value& item : all->items) {
    current.push_back(item);
    if (static_cast<Integer>(current.size()) == count) {
      batches.push_back(context.list(std::move(current)));
      current = {};
    }
  }
  if (!current.empty()) {
    if (fill) {
      const auto size = static_cast<std::size_t>(count);
      spend_bytes_of(context, size - current.size(), sizeof(Value));
      current.resize(size, *fill);
    }
    batches.push_back(context.list(std::move(current)));
  }
  return context.list(std::move(batches), Kind::generator);
}

Value slice(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "slice");
  const Integer slices = reader.integer("slices", 0);
  const auto fill = reader.unless_none("fill_with");
  reader.done();
  if (slices < 1) throw Failure("expected at least 1 slice, got " + std::to_string(slices));
  spend_bytes_of(context, static_cast<std::uint64_t>(slices), sizeof(Sequence) + sizeof(Value));
  const auto items = context.items_of(self);
  const auto size = static_cast<Integer>(items->items.size());
  std::vector<Value> parts;
  Integer begin = 0;
  for (Integer i = 0; i < slices; ++i) {
    const Integer count = size / slices + (i < size % slices ? 1 : 0);
    std::vector<Value> part(items->items.begin() + begin, items->items.begin() + begin + count);
    if (fill && i >= size % slices && size % slices != 0) part.push_back(*fill);
    parts.push_back(context.list(std::move(part)));
    begin += count;
  }
  return context.list(std::move(parts), Kind::generator);
}

// ---- Choosing

Arguments without_first(const Arguments& arguments, std::size_t count) {
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin(),
                        rest.positional.begin() + static_cast<std::ptrdiff_t>(count));
  return rest;
}

template <bool wanted, bool by_attribute>
Value choose(Context& context, const Value& self, const Arguments& arguments) {
  const std::size_t names = by_attribute ? 1 : 0;
  if (arguments.positional.size() < names) {
    throw Failure("expected the name of an attribute, got none");
  }
  std::optional<Value> attribute;
  if (by_attribute) attribute = arguments.positional.front();
  std::string test;
  Arguments rest;
  if (arguments.positional.size() > names) {
    test = expect_text(arguments.positional[names], "the name of a test").bytes();
    rest = without_first(arguments, names + 1);
  }
  if (!is_true(self)) return context.list({}, Kind::generator);  // None, too
  std::vector<Value> chosen;
  const auto all = context.items_of(self);
  for (const Value& item : all->items) {
    context.spend_steps(1);
    const Value tested = look_up(context, item, attribute);
    const bool passes = test.empty() ? is_true(tested) : context.test(test, tested, rest);
    if (passes == wanted) chosen.push_back(item);
  }
  return context.list(std::move(chosen), Kind::generator);
}

Value map(Context& context, const Value& self, const Arguments& arguments) {
  if (!is_true(self)) return context.list({}, Kind::generator);  // None, too
  std::vector<Value> mapped;
  const auto items = context.items_of(self);
  if (arguments.positional.empty()) {
    ArgumentReader reader(arguments, "map");
    const Value attribute = reader.required("attribute");
    const auto otherwise = reader.optional("default");
    reader.done();
    for (const Value& item : items->items) {
      context.spend_steps(1);
      const Value found = look_up(context, item, attribute);
      mapped.push_back(found.is_undefined() && otherwise ? *otherwise : found);
    }
  } else {
    const std::string name = expect_text(arguments.positional.front(), "a filter's name").bytes();
    const Arguments rest = without_first(arguments, 1);
    for (const Value& item : items->items) {
      context.spend_steps(1);
      mapped.push_back(context.filter(name, item, rest));
    }
  }
  return context.list(std::move(mapped), Kind::generator);
}

constexpr Function kFilters[] = {
    {"batch", batch},
    {"count", length},
    {"dictsort", dictsort},
    {"first", first},
    {"groupby", groupby},
    {"items", dict_items},
    {"join", join},
    {"last", last},
    {"length", length},
    {"list", list},
    {"map", map},
    {"max", extreme<true>},
    {"min", extreme<false>},
    {"reject", choose<false, false>},
    {"rejectattr", choose<false, true>},
    {"reverse", reverse},
    {"select", choose<true, false>},
    {"selectattr", choose<true, true>},
    {"slice", slice},
    {"sort", sort},
    {"sum", sum},
    {"unique", unique},
};

}  // namespace

std::span<const Function> sequence_filters() { return kFilters; }

}  // namespace diffllama::jinja
