#include "chat/jinja/expression_parser.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace diffllama::jinja {

ExpressionParser::Node ExpressionParser::make(Expression::Kind kind, int line) const {
  auto node = std::make_unique<Expression>();
  node->kind = kind;
  node->line = line;
  return node;
}

ExpressionParser::Node ExpressionParser::constant(Value value, int line) const {
  Node node = make(Expression::Kind::constant, line);
  node->value = std::move(value);
  return node;
}

void ExpressionParser::hold(Expression& outer, ExpressionPtr inner) const {
  if (inner != nullptr) {
    outer.depth = std::max(outer.depth, inner->depth + 1);
    if (outer.depth > kMostExpressionLevels) {
      fail("expected at most " + std::to_string(kMostExpressionLevels) +
           " expressions in one another, got more");
    }
  }
  outer.parts.push_back(std::move(inner));
}

// ---- Expressions, from the operator that binds least

ExpressionPtr ExpressionParser::parse_expression() { return parse_conditional(); }

ExpressionPtr ExpressionParser::parse_tuple(bool conditional, std::string_view end) {
  return parse_tuple_node(conditional, end, false);
}

ExpressionParser::Node ExpressionParser::parse_conditional() {
  if (++nesting_ > kMostExpressionLevels) {
    fail("expected at most " + std::to_string(kMostExpressionLevels) +
         " expressions in one another, got more");
  }
  Node node = parse_or();
  while (is_name("if")) {
    Node outer = make(Expression::Kind::conditional, next().line);
    hold(*outer, parse_or());
    hold(*outer, std::move(node));
    hold(*outer, skip_name("else") ? parse_conditional() : nullptr);
    node = std::move(outer);
  }
  --nesting_;
  return node;
}

ExpressionParser::Node ExpressionParser::parse_or() {
  Node node = parse_and();
  while (is_name("or")) {
    Node outer = make(Expression::Kind::logical_or, next().line);
    hold(*outer, std::move(node));
    hold(*outer, parse_and());
    node = std::move(outer);
  }
  return node;
}

ExpressionParser::Node ExpressionParser::parse_and() {
  Node node = parse_not();
  while (is_name("and")) {
    Node outer = make(Expression::Kind::logical_and, next().line);
    hold(*outer, std::move(node));
    hold(*outer, parse_not());
    node = std::move(outer);
  }
  return node;
}

ExpressionParser::Node ExpressionParser::parse_not() {
  std::vector<int> lines;  // of each `not`
  while (is_name("not")) lines.push_back(next().line);
  Node node = parse_compare();
  for (; !lines.empty(); lines.pop_back()) {
    Node outer = make(Expression::Kind::logical_not, lines.back());
    hold(*outer, std::move(node));
    node = std::move(outer);
  }
  return node;
}

ExpressionParser::Node ExpressionParser::parse_compare() {
  Node first = parse_sum();
  Node node = make(Expression::Kind::compare, first->line);
  hold(*node, std::move(first));
  for (;;) {
    std::string op;
    for (const std::string_view symbol : {"==", "!=", "<", "<=", ">", ">="}) {
      if (is_symbol(symbol)) op = symbol;
    }
    if (!op.empty()) {
      next();
    } else if (skip_name("in")) {
      op = "in";
    } else if (is_name("not") && peek(1).kind == Token::Kind::name && peek(1).text == "in") {
      next();
      next();
      op = "not in";
    } else {
      break;
    }
    node->operators.push_back(op);
    hold(*node, parse_sum());
  }
  if (!node->operators.empty()) return node;
  return std::move(node->parts.front());
}

ExpressionParser::Node ExpressionParser::parse_binary(
    Parse operand, std::initializer_list<std::string_view> symbols) {
  Node node = (this->*operand)();
  while (std::ranges::any_of(symbols, [&](std::string_view symbol) { return is_symbol(symbol); })) {
    const Token& token = next();
    Node outer = make(Expression::Kind::arithmetic, token.line);
    outer->name = token.text;
    hold(*outer, std::move(node));
    hold(*outer, (this->*operand)());
    node = std::move(outer);
  }
  return node;
}

ExpressionParser::Node ExpressionParser::parse_sum() {
  return parse_binary(&ExpressionParser::parse_concat, {"+", "-"});
}

ExpressionParser::Node ExpressionParser::parse_concat() {
  Node first = parse_product();
  if (!is_symbol("~")) return first;
  Node node = make(Expression::Kind::concat, first->line);
  hold(*node, std::move(first));
  while (skip_symbol("~")) hold(*node, parse_product());
  return node;
}

ExpressionParser::Node ExpressionParser::parse_product() {
  return parse_binary(&ExpressionParser::parse_power, {"*", "/", "//", "%"});
}

ExpressionParser::Node ExpressionParser::parse_power() {
  return parse_binary(&ExpressionParser::parse_unary, {"**"});
}

// A sign binds more than a filter, and less than a call or subscript.
ExpressionParser::Node ExpressionParser::parse_unary_with(bool filters) {
  std::vector<Token> signs;
  while (is_symbol("-") || is_symbol("+")) signs.push_back(next());
  Node node = parse_postfix(parse_primary());
  for (; !signs.empty(); signs.pop_back()) {
    Node outer =
        make(signs.back().text == "-" ? Expression::Kind::negative : Expression::Kind::positive,
             signs.back().line);
    hold(*outer, std::move(node));
    node = parse_postfix(std::move(outer));
  }
  return filters ? parse_filters_and_tests(std::move(node)) : std::move(node);
}

ExpressionParser::Node ExpressionParser::parse_primary() {
  const Token& token = peek();
  if (token.kind == Token::Kind::name) {
    next();
    if (token.text == "true" || token.text == "True") return constant(true, token.line);
    if (token.text == "false" || token.text == "False") return constant(false, token.line);
    if (token.text == "none" || token.text == "None") return constant({}, token.line);
    special_names_.varargs |= token.text == "varargs";
    special_names_.kwargs |= token.text == "kwargs";
    special_names_.caller |= token.text == "caller";
    Node node = make(Expression::Kind::name, token.line);
    node->name = token.text;
    return node;
  }
  if (token.kind == Token::Kind::string) return parse_string();
  if (token.kind == Token::Kind::integer || token.kind == Token::Kind::floating) {
    return parse_number();
  }
  if (is_symbol("(")) {
    next();
    Node node = parse_tuple_node(true, "", true);
    expect_symbol(")");
    return node;
  }
  if (is_symbol("[")) return parse_list();
  if (is_symbol("{")) return parse_dict();
  fail("expected an expression, got " + shown(token));
}

ExpressionParser::Node ExpressionParser::parse_string() {
  const int line = peek().line;
  std::string text;
  while (peek().kind == Token::Kind::string) text += next().text;
  return constant(Value(std::move(text)), line);
}

ExpressionParser::Node ExpressionParser::parse_number() {
  const Token& token = next();
  const char* begin = token.text.data();
  const char* end = begin + token.text.size();
  if (token.kind == Token::Kind::floating) {
    double number = 0;
    if (std::from_chars(begin, end, number).ec != std::errc()) {
      fail("expected a number of double precision, got " + token.text.substr(0, 40));
    }
    return constant(number, token.line);
  }
  std::int64_t number = 0;
  if (std::from_chars(begin, end, number).ec != std::errc()) {
    fail("expected an integer of 64 bits, got " + token.text.substr(0, 40));
  }
  return constant(number, token.line);
}

ExpressionParser::Node ExpressionParser::parse_list() {
  Node node = make(Expression::Kind::list, next().line);
  while (!is_symbol("]")) {
    if (!node->parts.empty()) expect_symbol(",");
    if (is_symbol("]")) break;
    hold(*node, parse_conditional());
  }
  expect_symbol("]");
  return node;
}

ExpressionParser::Node ExpressionParser::parse_dict() {
  Node node = make(Expression::Kind::dict, next().line);
  while (!is_symbol("}")) {
    if (!node->parts.empty()) expect_symbol(",");
    if (is_symbol("}")) break;
    hold(*node, parse_conditional());
    expect_symbol(":");
    hold(*node, parse_conditional());
  }
  expect_symbol("}");
  return node;
}

ExpressionParser::Node ExpressionParser::parse_tuple_node(bool conditional, std::string_view end,
                                                          bool in_parentheses) {
  const int line = peek().line;
  std::vector<Node> parts;
  bool is_tuple = false;
  const auto at_end = [&] {
    const Token::Kind kind = peek().kind;
    return kind == Token::Kind::variable_end || kind == Token::Kind::block_end || is_symbol(")") ||
           (!end.empty() && is_name(end));
  };
  for (;;) {
    if (!parts.empty()) expect_symbol(",");
    if (at_end()) break;
    parts.push_back(conditional ? parse_conditional() : parse_or());
    if (!is_symbol(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !parts.empty()) return std::move(parts.front());
  if (parts.empty() && !in_parentheses) fail("expected an expression, got " + shown(peek()));
  Node node = make(Expression::Kind::tuple, line);
  for (Node& part : parts) hold(*node, std::move(part));
  return node;
}

}  // namespace diffllama::jinja
