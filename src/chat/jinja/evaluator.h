#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "chat/jinja/context.h"
#include "chat/jinja/syntax.h"

namespace diffllama::jinja {

using Variables = std::vector<std::pair<std::string, Value>>;

/// The names of a loop's round, a macro's call, and so on.
struct Scope {
  std::shared_ptr<Scope> parent;
  Variables variables;

  void set(const std::string& name, Value value);
  const Value* find(const std::string& name) const;
};
using ScopePtr = std::shared_ptr<Scope>;

/// Computes expressions in a scope. Throws Failure, after which `line_` is where that was.
class Evaluator {
 protected:
  explicit Evaluator(const Limits& limits) : context_(limits) {}

  /// Counts the levels of what runs inside one another.
  class Level {
   public:
    explicit Level(Evaluator& evaluator);
    ~Level() { --depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    int& depth_;
  };

  /// Another scope for as long as this lives.
  class Inside {
   public:
    Inside(Evaluator& evaluator, const ScopePtr& parent);
    ~Inside() { scope_ = outer_; }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;

   private:
    ScopePtr& scope_;
    ScopePtr outer_;
  };

  Value name(const std::string& name) const;
  Value evaluate(const Expression& expression);
  Arguments evaluate_arguments(const CallArguments& given);

  Context context_;
  ScopePtr scope_;
  Value filtered_;  // what the filters of a block begin with
  int line_ = 1;

 private:
  std::vector<Value> evaluate_all(const std::vector<ExpressionPtr>& parts);
  Value make_dict(const Expression& expression);
  Value part_or_none(const ExpressionPtr& part);
  Value evaluate_subscript(const Expression& expression);
  Value evaluate_call(const Expression& expression);
  Value evaluate_filter(const Expression& expression);
  Value evaluate_test(const Expression& expression);
  Value evaluate_conditional(const Expression& expression);
  Value evaluate_logical(const Expression& expression);
  Value evaluate_compare(const Expression& expression);
  bool compare(const std::string& op, const Value& a, const Value& b);
  Value evaluate_arithmetic(const Expression& expression);
  Value evaluate_sign(const Expression& expression);
  Value evaluate_concat(const Expression& expression);

  int depth_ = 0;
};

}  // namespace diffllama::jinja
