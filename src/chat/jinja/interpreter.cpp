#include "chat/jinja/interpreter.h"

#include <algorithm>
#include <utility>

#include "chat/jinja/evaluator.h"
#include "chat/jinja/functions.h"
#include "diffllama/error.h"

namespace diffllama::jinja {
namespace {

enum class Flow { next, break_loop, continue_loop };

/// Carries out statements.
class Interpreter : private Evaluator {
 public:
  Interpreter(const Limits& limits, const Variables& variables) : Evaluator(limits) {
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

  Rendered run(const Body& body) {
    TextWriter out(context_);
    top_ = &out;
    execute(body, out);
    return {out.take(), std::move(generated_)};
  }
  int line() const { return line_; }

 private:
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
      case Statement::Kind::generation: {
        const Inside inside(*this, scope_);
        const std::size_t begin = out.size();
        const Flow flow = execute(statement.body, out);
        if (&out == top_ && out.size() > begin) generated_.push_back({begin, out.size()});
        return flow;
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
    auto items = context_.items_of(over);
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

  std::vector<std::weak_ptr<Scope>> macro_scopes_;
  const TextWriter* top_ = nullptr;  // what is written there is the template's output
  std::vector<RenderedChat::Range> generated_;
};

}  // namespace

Rendered render(const Body& body, const Variables& variables, const Limits& limits,
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
