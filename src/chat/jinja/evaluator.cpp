#include "chat/jinja/evaluator.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "chat/jinja/functions.h"

namespace diffllama::jinja {
namespace {

using Kind = Expression::Kind;

constexpr std::uint64_t kScopeBytes = 200;  // about what a scope takes

}  // namespace

void Scope::set(const std::string& name, Value value) {
  const auto known = std::ranges::find(variables, name, &Variables::value_type::first);
  if (known != variables.end()) {
    known->second = std::move(value);
  } else {
    variables.emplace_back(name, std::move(value));
  }
}

const Value* Scope::find(const std::string& name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent.get()) {
    const auto known = std::ranges::find(scope->variables, name, &Variables::value_type::first);
    if (known != scope->variables.end()) return &known->second;
  }
  return nullptr;
}

Evaluator::Level::Level(Evaluator& evaluator) : depth_(evaluator.depth_) {
  if (++depth_ > evaluator.context_.limits().depth) {
    const int most = evaluator.context_.limits().depth;
    --depth_;
    throw Failure("expected calls and expressions at most " + std::to_string(most) +
                  " deep, got a template that goes deeper");
  }
}

Evaluator::Inside::Inside(Evaluator& evaluator, const ScopePtr& parent)
    : scope_(evaluator.scope_), outer_(evaluator.scope_) {
  evaluator.context_.spend_bytes(kScopeBytes);
  scope_ = std::make_shared<Scope>(Scope{parent, {}});
}

Value Evaluator::name(const std::string& name) const {
  const Value* value = scope_->find(name);
  return value != nullptr
             ? *value
             : Value(Undefined{std::string("'").append(name, 0, 60) + "' is undefined"});
}

Value Evaluator::evaluate(const Expression& expression) {
  const Level level(*this);
  line_ = expression.line;
  context_.spend_steps(1);
  switch (expression.kind) {
    case Kind::constant:
      return expression.value;
    case Kind::name:
      return name(expression.name);
    case Kind::list:
      return context_.list(evaluate_all(expression.parts));
    case Kind::tuple:
      return context_.list(evaluate_all(expression.parts), Sequence::Kind::tuple);
    case Kind::dict:
      return make_dict(expression);
    case Kind::attribute:
    case Kind::item:
    case Kind::slice:
      return evaluate_subscript(expression);
    case Kind::call:
      return evaluate_call(expression);
    case Kind::filter:
      return evaluate_filter(expression);
    case Kind::test:
      return evaluate_test(expression);
    case Kind::conditional:
      return evaluate_conditional(expression);
    case Kind::logical_and:
    case Kind::logical_or:
      return evaluate_logical(expression);
    case Kind::logical_not:
      return !is_true(evaluate(*expression.parts.front()));
    case Kind::compare:
      return evaluate_compare(expression);
    case Kind::arithmetic:
      return evaluate_arithmetic(expression);
    case Kind::negative:
    case Kind::positive:
      return evaluate_sign(expression);
    case Kind::concat:
      return evaluate_concat(expression);
  }
  return {};
}

std::vector<Value> Evaluator::evaluate_all(const std::vector<ExpressionPtr>& parts) {
  std::vector<Value> values;
  values.reserve(parts.size());
  for (const auto& part : parts) values.push_back(evaluate(*part));
  return values;
}

Value Evaluator::make_dict(const Expression& expression) {
  Dict dict;
  for (std::size_t i = 0; i < expression.parts.size(); i += 2) {
    const Value key = evaluate(*expression.parts[i]);
    dict.set(key, evaluate(*expression.parts[i + 1]));
  }
  return context_.dict(std::move(dict));
}

Value Evaluator::part_or_none(const ExpressionPtr& part) {
  return part == nullptr ? Value() : evaluate(*part);
}

Value Evaluator::evaluate_subscript(const Expression& expression) {
  const Value value = evaluate(*expression.parts[0]);
  if (expression.kind == Kind::attribute) {
    line_ = expression.line;
    return context_.attribute(value, expression.name);
  }
  if (expression.kind == Kind::item) {
    const Value key = evaluate(*expression.parts[1]);
    line_ = expression.line;
    return context_.item(value, key);
  }
  const Value start = part_or_none(expression.parts[1]);
  const Value stop = part_or_none(expression.parts[2]);
  const Value step = part_or_none(expression.parts[3]);
  line_ = expression.line;
  return slice_of(context_, value, start, stop, step);
}

Arguments Evaluator::evaluate_arguments(const CallArguments& given) {
  Arguments arguments;
  arguments.positional = evaluate_all(given.positional);
  for (const auto& [name, value] : given.named) {
    arguments.named.emplace_back(name, evaluate(*value));
  }
  if (given.all_positional) {
    const auto all = context_.items_of(evaluate(*given.all_positional));
    for (const Value& item : all->items) {
      arguments.positional.push_back(item);
    }
  }
  if (given.all_named) {
    const Value named = evaluate(*given.all_named);
    if (named.dict() == nullptr) {
      throw Failure("expected a dict behind **, got " + type_name(named));
    }
    for (const auto& [key, value] : named.dict()->entries) {
      arguments.named.emplace_back(expect_text(key, "the name of an argument").bytes(), value);
    }
  }
  return arguments;
}

Value Evaluator::evaluate_call(const Expression& expression) {
  const Value function = evaluate(*expression.parts.front());
  const Arguments arguments = evaluate_arguments(expression.arguments);
  line_ = expression.line;
  return context_.call(function, arguments);
}

Value Evaluator::evaluate_filter(const Expression& expression) {
  const ExpressionPtr& part = expression.parts.front();
  const Value value = part == nullptr ? filtered_ : evaluate(*part);
  const Arguments arguments = evaluate_arguments(expression.arguments);
  line_ = expression.line;
  return context_.filter(expression.name, value, arguments);
}

Value Evaluator::evaluate_test(const Expression& expression) {
  const Value value = evaluate(*expression.parts.front());
  const Arguments arguments = evaluate_arguments(expression.arguments);
  line_ = expression.line;
  return context_.test(expression.name, value, arguments);
}

Value Evaluator::evaluate_conditional(const Expression& expression) {
  if (is_true(evaluate(*expression.parts[0]))) return evaluate(*expression.parts[1]);
  if (expression.parts[2] != nullptr) return evaluate(*expression.parts[2]);
  return Undefined{"the condition of an `if` without an `else` does not hold"};
}

Value Evaluator::evaluate_logical(const Expression& expression) {
  Value left = evaluate(*expression.parts[0]);
  const bool decided = is_true(left) == (expression.kind == Kind::logical_or);
  return decided ? left : evaluate(*expression.parts[1]);
}

Value Evaluator::evaluate_compare(const Expression& expression) {
  Value left = evaluate(*expression.parts[0]);
  for (std::size_t i = 0; i < expression.operators.size(); ++i) {
    Value right = evaluate(*expression.parts[i + 1]);
    line_ = expression.line;
    if (!compare(expression.operators[i], left, right)) return false;
    left = std::move(right);
  }
  return true;
}

bool Evaluator::compare(const std::string& op, const Value& a, const Value& b) {
  if (op == "==") return context_.equal(a, b);
  if (op == "!=") return !context_.equal(a, b);
  if (op == "<") return context_.less(a, b);
  if (op == ">") return context_.less(b, a);
  if (op == "<=") return context_.less(a, b) || context_.equal(a, b);
  if (op == ">=") return context_.less(b, a) || context_.equal(a, b);
  return context_.contains(b, a) == (op == "in");
}

Value Evaluator::evaluate_arithmetic(const Expression& expression) {
  const Value left = evaluate(*expression.parts[0]);
  const Value right = evaluate(*expression.parts[1]);
  line_ = expression.line;
  return arithmetic(context_, expression.name, left, right);
}

Value Evaluator::evaluate_sign(const Expression& expression) {
  const Value value = evaluate(*expression.parts.front());
  line_ = expression.line;
  if (!value.is_number()) throw Failure("expected a number behind a sign, got " + type_name(value));
  if (expression.kind == Kind::negative && value.is_float()) return -*value.as_double();
  const char* op = expression.kind == Kind::negative ? "-" : "+";
  return arithmetic(context_, op, Value(std::int64_t{0}), value);
}

Value Evaluator::evaluate_concat(const Expression& expression) {
  TextWriter out(context_);
  for (const auto& part : expression.parts) {
    const Value value = evaluate(*part);
    line_ = expression.line;
    out.add(to_text(context_, value));
  }
  return out.value();
}

}  // namespace diffllama::jinja
