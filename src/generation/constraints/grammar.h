#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "diffllama/constraint.h"
#include "generation/constraints/code_points.h"

namespace diffllama {

/// What makes a text: rules, each an expression over characters, texts and other rules. The one
/// form that regular expressions, GBNF grammars and JSON schemas are turned into. Expressions and
/// rules are numbered; an expression may be used in several places.
class Grammar {
 public:
  using Expression = std::uint32_t;
  using Rule = std::uint32_t;
  static constexpr std::int64_t kUnbounded = -1;

  enum class Kind { characters, text, sequence, alternatives, repeat, rule };
  struct Node {
    Kind kind = Kind::text;
    std::vector<Expression> parts = {};  // of sequence, alternatives, repeat (one)
    CodePoints characters = {};          // of characters
    std::string text = {};               // of text, in UTF-8
    std::int64_t least = 0, most = 0;    // of repeat
    Rule rule = 0;                       // of rule
  };

  /// `where` begins every message.
  Grammar(std::string where, const ConstraintLimits& limits)
      : where_(std::move(where)), limits_(limits) {}

  /// One character of a set; an empty set matches nothing.
  Expression characters(CodePoints set);
  /// The bytes of `text`.
  Expression text(std::string_view text);
  /// One of the texts; what several begin with is there once.
  Expression one_of(std::vector<std::string> texts);
  Expression sequence(std::vector<Expression> parts);
  /// Nothing matches where there are none.
  Expression alternatives(std::vector<Expression> parts);
  /// `least` to `most` times (kUnbounded: any number).
  Expression repeat(Expression part, std::int64_t least, std::int64_t most);
  /// Makes a repetition that is there one of something else.
  void replace_repeat(Expression repeat, Expression part, std::int64_t least, std::int64_t most);
  Expression optional(Expression part) { return repeat(part, 0, 1); }

  /// A new rule, to be defined before the grammar is used.
  Rule add_rule(std::string name);
  void define(Rule rule, Expression expression);
  Expression reference(Rule rule);

  const Node& node(Expression expression) const { return nodes_[expression]; }
  std::size_t size() const { return nodes_.size(); }
  std::size_t rules() const { return definitions_.size(); }
  /// Throws InvalidArgument for a rule without a definition.
  Expression definition(Rule rule) const;
  const std::string& rule_name(Rule rule) const { return names_[rule]; }
  const std::string& where() const { return where_; }
  const ConstraintLimits& limits() const { return limits_; }

  /// Counts steps of compiling against the limit, each about half a microsecond. Throws
  /// InvalidArgument past it.
  void step(std::size_t count = 1);
  std::size_t steps() const { return steps_; }

 private:
  static constexpr Expression kUndefined = UINT32_MAX;
  Expression push(Node node);
  Expression one_of(std::span<const std::string> texts, std::size_t from, int depth);

  std::string where_;
  ConstraintLimits limits_;
  std::vector<Node> nodes_;
  std::vector<Expression> definitions_;
  std::vector<std::string> names_;
  std::size_t steps_ = 0;
};

}  // namespace diffllama
