// Jinja's tests, what stands behind `is`.
#include <algorithm>

#include "chat/jinja/functions.h"

namespace diffllama::jinja {
namespace {

using Integer = std::int64_t;
using Kind = Sequence::Kind;

template <bool (*test)(const Value&)>
Value simple(Context& /*context*/, const Value& self, const Arguments& arguments) {
  ArgumentReader(arguments, "a test").done();
  return test(self);
}

Value with_other(Context& context, const Value& self, const Arguments& arguments,
                 bool (*test)(Context&, const Value&, const Value&)) {
  ArgumentReader reader(arguments, "a test");
  const Value other = reader.required("other");
  reader.done();
  return test(context, self, other);
}

Value equals(Context& context, const Value& self, const Arguments& arguments) {
  return with_other(context, self, arguments,
                    [](Context& c, const Value& a, const Value& b) { return c.equal(a, b); });
}
Value differs(Context& context, const Value& self, const Arguments& arguments) {
  return with_other(context, self, arguments,
                    [](Context& c, const Value& a, const Value& b) { return !c.equal(a, b); });
}
Value is_less(Context& context, const Value& self, const Arguments& arguments) {
  return with_other(context, self, arguments,
                    [](Context& c, const Value& a, const Value& b) { return c.less(a, b); });
}
Value is_greater(Context& context, const Value& self, const Arguments& arguments) {
  return with_other(context, self, arguments,
                    [](Context& c, const Value& a, const Value& b) { return c.less(b, a); });
}
Value at_most(Context& context, const Value& self, const Arguments& arguments) {
  return with_other(context, self, arguments, [](Context& c, const Value& a, const Value& b) {
    return c.less(a, b) || c.equal(a, b);
  });
}
Value at_least(Context& context, const Value& self, const Arguments& arguments) {
  return with_other(context, self, arguments, [](Context& c, const Value& a, const Value& b) {
    return c.less(b, a) || c.equal(a, b);
  });
}
Value in(Context& context, const Value& self, const Arguments& arguments) {
  return with_other(context, self, arguments,
                    [](Context& c, const Value& a, const Value& b) { return c.contains(b, a); });
}

Value same_as(Context& context, const Value& self, const Arguments& arguments) {
  return with_other(context, self, arguments, [](Context&, const Value& a, const Value& b) {
    if (a.identity() != nullptr || b.identity() != nullptr) return a.identity() == b.identity();
    return a.storage().index() == b.storage().index() && equal(a, b);
  });
}

Value divisible(Context& context, const Value& self, const Arguments& arguments) {
  ArgumentReader reader(arguments, "divisibleby");
  const Value divisor = reader.required("num");
  reader.done();
  return equal(arithmetic(context, "%", self, divisor), Value(Integer{0}));
}

Integer rest_of_two(const Value& value) {
  const auto integer = value.as_integer();
  if (!integer) throw Failure("expected an integer, got " + type_name(value));
  return *integer & 1;
}

bool is_iterable(const Value& value) {
  return value.is_undefined() || value.text() != nullptr || value.sequence() != nullptr ||
         value.dict() != nullptr;
}
bool is_python_sequence(const Value& value) {
  return value.is_undefined() || value.text() != nullptr || value.dict() != nullptr ||
         (value.sequence() != nullptr && value.sequence()->kind <= Kind::range);
}
bool is_callable(const Value& value) {
  return value.callable() != nullptr || value.loop() != nullptr || value.is_undefined();
}

Value is_cased(const Value& self, Context& context, const char* method) {
  return context.call(context.attribute(Value(to_text(context, self)), method), {});
}

constexpr Function kTests[] = {
    {"!=", differs},
    {"<", is_less},
    {"<=", at_most},
    {"==", equals},
    {">", is_greater},
    {">=", at_least},
    {"boolean", simple<[](const Value& v) { return v.is_boolean(); }>},
    {"callable", simple<is_callable>},
    {"defined", simple<[](const Value& v) { return !v.is_undefined(); }>},
    {"divisibleby", divisible},
    {"eq", equals},
    {"equalto", equals},
    {"escaped", simple<[](const Value& v) { return v.text() != nullptr && v.text()->markup(); }>},
    {"even", simple<[](const Value& v) { return rest_of_two(v) == 0; }>},
    {"false", simple<[](const Value& v) { return v.is_boolean() && !is_true(v); }>},
    {"filter",
     [](Context&, const Value& self, const Arguments&) {
       return Value(self.text() != nullptr && find_filter(self.text()->bytes()) != nullptr);
     }},
    {"float", simple<[](const Value& v) { return v.is_float(); }>},
    {"ge", at_least},
    {"greaterthan", is_greater},
    {"gt", is_greater},
    {"in", in},
    {"integer", simple<[](const Value& v) { return v.is_integer(); }>},
    {"iterable", simple<is_iterable>},
    {"le", at_most},
    {"lessthan", is_less},
    {"lower", [](Context& context, const Value& self,
                 const Arguments&) { return is_cased(self, context, "islower"); }},
    {"lt", is_less},
    {"mapping", simple<[](const Value& v) { return v.dict() != nullptr; }>},
    {"ne", differs},
    {"none", simple<[](const Value& v) { return v.is_none(); }>},
    {"number", simple<[](const Value& v) { return v.is_number(); }>},
    {"odd", simple<[](const Value& v) { return rest_of_two(v) == 1; }>},
    {"sameas", same_as},
    {"sequence", simple<is_python_sequence>},
    {"string", simple<[](const Value& v) { return v.text() != nullptr; }>},
    {"test",
     [](Context&, const Value& self, const Arguments&) {
       return Value(self.text() != nullptr && find_test(self.text()->bytes()) != nullptr);
     }},
    {"true", simple<[](const Value& v) { return v.is_boolean() && is_true(v); }>},
    {"undefined", simple<[](const Value& v) { return v.is_undefined(); }>},
    {"upper", [](Context& context, const Value& self,
                 const Arguments&) { return is_cased(self, context, "isupper"); }},
};

}  // namespace

const Function* find_test(std::string_view name) {
  const auto found = std::ranges::find(kTests, name, &Function::name);
  return found == std::end(kTests) ? nullptr : &*found;
}

}  // namespace diffllama::jinja
