#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "chat/jinja/lexer.h"
#include "chat/jinja/syntax.h"

namespace diffllama::jinja {

/// Goes through a template's tokens and reads expressions, with the precedence that Jinja's own
/// parser gives them. Throws FormatError, which starts with `where` and the line.
class ExpressionParser {
 public:
  ExpressionParser(std::vector<Token> tokens, std::string where)
      : tokens_(std::move(tokens)), where_(std::move(where)) {}

 protected:
  // Tokens.
  const Token& peek(std::size_t ahead = 0) const;
  const Token& next();
  bool is_symbol(std::string_view symbol) const;
  bool is_name(std::string_view name) const;
  bool skip_symbol(std::string_view symbol);
  bool skip_name(std::string_view name);
  void expect(Token::Kind kind, const char* shown);
  void expect_symbol(std::string_view symbol);
  std::string expect_name();
  void expect_name(std::string_view name);
  static std::string shown(const Token& token);
  [[noreturn]] void fail(const std::string& message) const;

  // Expressions.
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

  std::vector<Token> tokens_;
  std::string where_;
  std::size_t at_ = 0;
  int nesting_ = 0;
};

}  // namespace diffllama::jinja
