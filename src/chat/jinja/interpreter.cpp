#include "chat/jinja/interpreter.h"

#include <algorithm>

#include "chat/jinja/functions.h"
#include "diffllama/error.h"

namespace diffllama::jinja {
namespace {

using Kind = Expression::Kind;

constexpr std::uint64_t kScopeBytes = 200;  // about what a scope takes

/// The names of a loop's round, a macro's call, and so on.
struct Scope {
  std::shared_ptr<Scope> parent;
  Variables variables;

  void set(const std::string& name, Value value) {
    const auto known = std::ranges::find(variables, name, &Variables::value_type::first);
    if (known != variables.end()) {
      known->second = std::move(value);
    } else {
      variables.emplace_back(name, std::move(value));
    }
  }
  const Value* find(const std::string& name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent.get()) {
      const auto known = std::ranges::find(scope->variables, name, &Variables::value_type::first);
      if (known != scope->variables.end()) return &known->second;
    }
    return nullptr;
  }
};
using ScopePtr = std::shared_ptr<Scope>;

enum class Flow { next, break_loop, continue_loop };

class Interpreter {
 public:
  Interpreter(const Limits& limits, const Variables& variables) : context_(limits) {
    const ScopePtr globals = std::make_shared<Scope>();
    globals->variables = global_functions();
    scope_ = std::make_shared<Scope>(Scope{globals, {}});
    for (const auto& [name, value] : variables) globals->set(name, value);
  }
  ~Interpreter() {
    // A macro holds the scope that it was defined in, which holds the macro.
    for (const auto& scope : macro_scopes_) {
      if (const ScopePtr held = scope.lock()) Variables().swap(held->variables);
    }
  }
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  Text run(const Body& body) {
    TextWriter out(context_);
    execute(body, out);
    return out.take();
  }
  int line() const { return line_; }

 private:
  /// Counts the levels of what runs inside one another.
  class Level {
   public:
    explicit Level(Interpreter& interpreter) : depth_(interpreter.depth_) {
      if (++depth_ > interpreter.context_.limits().depth) {
        const int most = interpreter.context_.limits().depth;
        --depth_;
        throw Failure("expected calls and expressions at most " + std::to_string(most) +
                      " deep, got a template that goes deeper");
      }
    }
    ~Level() { --depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    int& depth_;
  };

  /// Another scope for as long as this lives.
  class Inside {
   public:
    Inside(Interpreter& interpreter, const ScopePtr& parent)
        : scope_(interpreter.scope_), outer_(interpreter.scope_) {
      interpreter.context_.spend_bytes(kScopeBytes);
      scope_ = std::make_shared<Scope>(Scope{parent, {}});
    }
    ~Inside() { scope_ = outer_; }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;

   private:
    ScopePtr& scope_;
    ScopePtr outer_;
  };

  // ---- Statements

  Flow execute(const Body& body, TextWriter& out) {
    for (const Statement& statement : body) {
      const Flow flow = execute(statement, out);
      if (flow != Flow::next) return flow;
    }
    return Flow::next;
  }

  Flow execute(const Statement& statement, TextWriter& out) {
    const Level level(*this);
    line_ = statement.line;
    context_.spend_steps(1);
    switch (statement.kind) {
      case Statement::Kind::text:
        out.add(statement.text);
        return Flow::next;
      case Statement::Kind::output:
        for (const auto& expression : statement.expressions) write(evaluate(*expression), out);
        return Flow::next;
      case Statement::Kind::condition:
        return execute_if(statement, out);
      case Statement::Kind::loop:
        return execute_for(statement, out);
      case Statement::Kind::set:
        assign(statement.targets.front(), evaluate(*statement.expressions.front()));
        return Flow::next;
      case Statement::Kind::set_block:
        assign(statement.targets.front(), block_text(statement));
        return Flow::next;
      case Statement::Kind::macro:
        macro_scopes_.push_back(scope_);
        scope_->set(statement.name, make_macro(statement));
        return Flow::next;
      case Statement::Kind::call:
        macro_scopes_.push_back(scope_);
        write(call_with_caller(statement), out);
        return Flow::next;
      case Statement::Kind::filter:
        write(block_text(statement), out);
        return Flow::next;
      case Statement::Kind::with:
        return execute_with(statement, out);
      case Statement::Kind::scope: {
        const Inside inside(*this, scope_);
        return execute(statement.body, out);
      }
      case Statement::Kind::break_loop:
        return Flow::break_loop;
      case Statement::Kind::continue_loop:
        return Flow::continue_loop;
    }
    return Flow::next;
  }

  void write(const Value& value, TextWriter& out) { out.add(to_text(context_, value)); }

  Flow execute_if(const Statement& statement, TextWriter& out) {
    for (const Branch& branch : statement.branches) {
      if (branch.condition == nullptr || is_true(evaluate(*branch.condition))) {
        return execute(branch.body, out);
      }
    }
    return Flow::next;
  }

  Flow execute_for(const Statement& statement, TextWriter& out) {
    return loop(statement, evaluate(*statement.expressions.front()), 1, scope_, out);
  }

  // The rounds of a loop, called again by loop(...) where it is recursive.
  Flow loop(const Statement& statement, const Value& over, std::int64_t depth,
            const ScopePtr& parent, TextWriter& out) {
    const std::shared_ptr<const Sequence> items = chosen_items(statement, over, parent);
    const auto changed = std::make_shared<std::string>();
    std::function<Value(Context&, const Arguments&)> recurse;
    if (statement.recursive) {
      recurse = [this, &statement, depth, parent](Context& context, const Arguments& arguments) {
        ArgumentReader reader(arguments, "loop");
        const Value inner = reader.required("iterable");
        reader.done();
        TextWriter text(context);
        loop(statement, inner, depth + 1, parent, text);
        return text.value();
      };
    }
    bool finished = false;  // a round, without break or continue: Jinja's `else` looks at that
    for (std::size_t i = 0; i < items->items.size(); ++i) {
      context_.spend_steps(1);
      const Inside inside(*this, parent);
      assign(statement.targets.front(), items->items[i]);
      scope_->set("loop", std::make_shared<const Loop>(Loop{items, i, depth, recurse, changed}));
      const Flow flow = execute(statement.body, out);
      finished = finished || flow == Flow::next;
      if (flow == Flow::break_loop) break;
    }
    if (finished) return Flow::next;
    const Inside inside(*this, parent);
    return execute(statement.otherwise, out);
  }

  // The items that the `if` of a loop lets through.
  std::shared_ptr<const Sequence> chosen_items(const Statement& statement, const Value& over,
                                               const ScopePtr& parent) {
    const auto items = context_.items_of(over);
    const Expression* condition = statement.expressions.back().get();
    if (condition == nullptr) return items;
    std::vector<Value> chosen;
    for (const Value& item : items->items) {
      const Inside inside(*this, parent);
      assign(statement.targets.front(), item);
      scope_->set("loop", Undefined{"the condition of a loop has no loop"});
      if (is_true(evaluate(*condition))) chosen.push_back(item);
    }
    return context_.list(std::move(chosen)).shared_sequence();
  }

  Flow execute_with(const Statement& statement, TextWriter& out) {
    std::vector<Value> values;
    for (const auto& expression : statement.expressions) values.push_back(evaluate(*expression));
    const Inside inside(*this, scope_);
    for (std::size_t i = 0; i < values.size(); ++i) assign(statement.targets[i], values[i]);
    return execute(statement.body, out);
  }

  // The text of a body, through the filters behind its tag.
  Value block_text(const Statement& statement) {
    TextWriter text(context_);
    {
      const Inside inside(*this, scope_);
      execute(statement.body, text);
    }
    const Expression* filters = statement.expressions.front().get();
    if (filters == nullptr) return text.value();
    const Value outer = std::exchange(filtered_, text.value());
    Value result = evaluate(*filters);
    filtered_ = outer;
    return result;
  }

  void assign(const Target& target, const Value& value) {
    if (!target.parts.empty()) {
      const auto items = context_.items_of(value);
      if (value.is_undefined() || items->items.size() != target.parts.size()) {
        throw Failure("expected " + std::to_string(target.parts.size()) +
                      " values to unpack, got " + std::to_string(items->items.size()));
      }
      for (std::size_t i = 0; i < target.parts.size(); ++i) {
        assign(target.parts[i], items->items[i]);
      }
    } else if (target.attribute.empty()) {
      scope_->set(target.name, value);
    } else {
      const auto space = name(target.name).name_space();
      if (space == nullptr) {
        throw Failure("expected a namespace to set an attribute of, got " +
                      type_name(name(target.name)));
      }
      context_.assign(*space, target.attribute, value);
    }
  }

  // ---- Macros

  Value make_macro(const Statement& statement) {
    const auto macro = std::make_shared<Callable>();
    macro->name = statement.name;
    macro->macro = true;
    macro->call = [this, &statement, scope = scope_](Context&, const Arguments& arguments) {
      return call_macro(statement, scope, arguments);
    };
    return std::shared_ptr<const Callable>(macro);
  }

  Value call_with_caller(const Statement& statement) {
    const Expression& call = *statement.expressions.front();
    const Value function = evaluate(*call.parts.front());
    Arguments arguments = evaluate_arguments(call.arguments);
    arguments.named.emplace_back("caller", make_macro(statement));
    line_ = statement.line;
    return context_.call(function, arguments);
  }

  Value call_macro(const Statement& macro, const ScopePtr& scope, const Arguments& arguments) {
    const Level level(*this);
    const Inside inside(*this, scope);
    std::vector<std::pair<std::string, Value>> named = arguments.named;
    bind_parameters(macro, arguments, named);
    bind_special(macro, arguments, named);
    TextWriter text(context_);
    execute(macro.body, text);
    return text.value();
  }

  // Gives the parameters their values and takes those that were passed by name out of `named`.
  void bind_parameters(const Statement& macro, const Arguments& arguments, Variables& named) {
    for (std::size_t i = 0; i < macro.parameters.size(); ++i) {
      const Parameter& parameter = macro.parameters[i];
      const auto given = std::ranges::find(named, parameter.name, &Variables::value_type::first);
      Value value;
      if (i < arguments.positional.size()) {
        value = arguments.positional[i];
      } else if (given != named.end()) {
        value = given->second;
        named.erase(given);
      } else if (parameter.otherwise != nullptr) {
        value = evaluate(*parameter.otherwise);
      } else {
        value = Undefined{"the parameter '" + parameter.name + "' was not given"};
      }
      scope_->set(parameter.name, std::move(value));
    }
  }

  void bind_special(const Statement& macro, const Arguments& arguments, Variables& named) {
    const bool has_caller =
        std::ranges::find(macro.parameters, "caller", &Parameter::name) != macro.parameters.end();
    if (macro.special.caller && !has_caller) {
      const auto given = std::ranges::find(named, "caller", &Variables::value_type::first);
      scope_->set("caller",
                  given != named.end() ? given->second : Value(Undefined{"there is no caller"}));
      if (given != named.end()) named.erase(given);
    }
    if (macro.special.kwargs) {
      Dict dict;
      for (const auto& [name, value] : named) dict.set(Value(name), value);
      scope_->set("kwargs", context_.dict(std::move(dict)));
    } else if (!named.empty()) {
      throw Failure("expected arguments that the macro " + macro.name + " has, got '" +
                    named.front().first + "'");
    }
    const std::size_t count = std::min(macro.parameters.size(), arguments.positional.size());
    if (macro.special.varargs) {
      const auto rest = arguments.positional.begin() + static_cast<std::ptrdiff_t>(count);
      scope_->set("varargs",
                  context_.list({rest, arguments.positional.end()}, Sequence::Kind::tuple));
    } else if (arguments.positional.size() > count) {
      throw Failure("expected at most " + std::to_string(count) + " arguments of the macro " +
                    macro.name + ", got " + std::to_string(arguments.positional.size()));
    }
  }

  // ---- Expressions

  Value name(const std::string& name) const {
    const Value* value = scope_->find(name);
    return value != nullptr
               ? *value
               : Value(Undefined{std::string("'").append(name, 0, 60) + "' is undefined"});
  }

  Value evaluate(const Expression& expression) {
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

  std::vector<Value> evaluate_all(const std::vector<ExpressionPtr>& parts) {
    std::vector<Value> values;
    values.reserve(parts.size());
    for (const auto& part : parts) values.push_back(evaluate(*part));
    return values;
  }

  Value make_dict(const Expression& expression) {
    Dict dict;
    for (std::size_t i = 0; i < expression.parts.size(); i += 2) {
      const Value key = evaluate(*expression.parts[i]);
      dict.set(key, evaluate(*expression.parts[i + 1]));
    }
    return context_.dict(std::move(dict));
  }

  Value part_or_none(const ExpressionPtr& part) {
    return part == nullptr ? Value() : evaluate(*part);
  }

  Value evaluate_subscript(const Expression& expression) {
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

  Arguments evaluate_arguments(const CallArguments& given) {
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

  Value evaluate_call(const Expression& expression) {
    const Value function = evaluate(*expression.parts.front());
    const Arguments arguments = evaluate_arguments(expression.arguments);
    line_ = expression.line;
    return context_.call(function, arguments);
  }

  Value evaluate_filter(const Expression& expression) {
    const ExpressionPtr& part = expression.parts.front();
    const Value value = part == nullptr ? filtered_ : evaluate(*part);
    const Arguments arguments = evaluate_arguments(expression.arguments);
    line_ = expression.line;
    return context_.filter(expression.name, value, arguments);
  }

  Value evaluate_test(const Expression& expression) {
    const Value value = evaluate(*expression.parts.front());
    const Arguments arguments = evaluate_arguments(expression.arguments);
    line_ = expression.line;
    return context_.test(expression.name, value, arguments);
  }

  Value evaluate_conditional(const Expression& expression) {
    if (is_true(evaluate(*expression.parts[0]))) return evaluate(*expression.parts[1]);
    if (expression.parts[2] != nullptr) return evaluate(*expression.parts[2]);
    return Undefined{"the condition of an `if` without an `else` does not hold"};
  }

  Value evaluate_logical(const Expression& expression) {
    Value left = evaluate(*expression.parts[0]);
    const bool decided = is_true(left) == (expression.kind == Kind::logical_or);
    return decided ? left : evaluate(*expression.parts[1]);
  }

  Value evaluate_compare(const Expression& expression) {
    Value left = evaluate(*expression.parts[0]);
    for (std::size_t i = 0; i < expression.operators.size(); ++i) {
      Value right = evaluate(*expression.parts[i + 1]);
      line_ = expression.line;
      if (!compare(expression.operators[i], left, right)) return false;
      left = std::move(right);
    }
    return true;
  }

  bool compare(const std::string& op, const Value& a, const Value& b) {
    if (op == "==") return context_.equal(a, b);
    if (op == "!=") return !context_.equal(a, b);
    if (op == "<") return context_.less(a, b);
    if (op == ">") return context_.less(b, a);
    if (op == "<=") return context_.less(a, b) || context_.equal(a, b);
    if (op == ">=") return context_.less(b, a) || context_.equal(a, b);
    return context_.contains(b, a) == (op == "in");
  }

  Value evaluate_arithmetic(const Expression& expression) {
    const Value left = evaluate(*expression.parts[0]);
    const Value right = evaluate(*expression.parts[1]);
    line_ = expression.line;
    return arithmetic(context_, expression.name, left, right);
  }

  Value evaluate_sign(const Expression& expression) {
    const Value value = evaluate(*expression.parts.front());
    line_ = expression.line;
    if (!value.is_number())
      throw Failure("expected a number behind a sign, got " + type_name(value));
    if (expression.kind == Kind::negative && value.is_float()) return -*value.as_double();
    const char* op = expression.kind == Kind::negative ? "-" : "+";
    return arithmetic(context_, op, Value(std::int64_t{0}), value);
  }

  Value evaluate_concat(const Expression& expression) {
    TextWriter out(context_);
    for (const auto& part : expression.parts) {
      const Value value = evaluate(*part);
      line_ = expression.line;
      write(value, out);
    }
    return out.value();
  }

  Context context_;
  ScopePtr scope_;
  Value filtered_;  // what the filters of a block begin with
  std::vector<std::weak_ptr<Scope>> macro_scopes_;
  int depth_ = 0;
  int line_ = 1;
};

}  // namespace

Text render(const Body& body, const Variables& variables, const Limits& limits,
            const std::string& where) {
  Interpreter interpreter(limits, variables);
  try {
    return interpreter.run(body);
  } catch (const Failure& failure) {
    throw FormatError(where + ": line " + std::to_string(interpreter.line()) + ": " +
                      failure.what());
  }
}

}  // namespace diffllama::jinja
