#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "chat/jinja/syntax.h"
#include "chat/jinja/token_reader.h"

namespace diffllama::jinja {

inline constexpr int kMostExpressionLevels = 400;  // of expressions in one another

/// Reads expressions, with the precedence that Jinja's own parser gives them.
class ExpressionParser : protected TokenReader {
 public:
  using TokenReader::TokenReader;

 protected:
  ExpressionPtr parse_expression();
  /// An expression, or several with commas between them. `conditional`: a if b else c may stand
  /// here. A name `end` ends it as the end of the tag does.
  ExpressionPtr parse_tuple(bool conditional = true, std::string_view end = "");
  /// |a|b behind an expression, or behind nothing where a block is filtered; null where there is
  /// none. `inline_start`: the first stands without its |.
  ExpressionPtr parse_filters(ExpressionPtr value, bool inline_start = false);
  /// What an assignment, a loop or `with` sets, up to the name `end`.
  Target parse_target(std::string_view end, bool attributes = false);

  SpecialNames special_names_;  // those read so far

 private:
  using Node = ExpressionPtr;
  using Parse = Node (ExpressionParser::*)();

  Node make(Expression::Kind kind, int line) const;
  Node constant(Value value, int line) const;
  void hold(Expression& outer, ExpressionPtr inner) const;

  Node parse_conditional();
  Node parse_or();
  Node parse_and();
  Node parse_not();
  Node parse_compare();
  Node parse_sum();
  Node parse_concat();
  Node parse_product();
  Node parse_power();
  Node parse_unary() { return parse_unary_with(true); }
  Node parse_unary_with(bool filters);
  Node parse_primary();
  Node parse_postfix(Node node);
  Node parse_filters_and_tests(Node node);
  Node parse_subscript(Node node);
  Node parse_subscribed(Node node);
  Node parse_call(Node node);
  Node parse_filter(Node node);
  Node parse_test(Node node);
  Node parse_tuple_node(bool conditional, std::string_view end, bool in_parentheses);
  Node parse_list();
  Node parse_dict();
  Node parse_number();
  Node parse_string();
  Node parse_binary(Parse operand, std::initializer_list<std::string_view> symbols);
  void parse_arguments(Expression& node);
  std::string parse_dotted_name();
  Target parse_one_target(bool attributes);

  int nesting_ = 0;
};

}  // namespace diffllama::jinja
