#include "chat/jinja/expression_parser.h"

#include <algorithm>
#include <charconv>

#include "diffllama/error.h"

namespace diffllama::jinja {
namespace {

constexpr int kMostLevels = 400;  // of expressions in one another

}  // namespace

// ---- Tokens

const Token& ExpressionParser::peek(std::size_t ahead) const {
  return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
}

const Token& ExpressionParser::next() {
  const Token& token = peek();
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool ExpressionParser::is_symbol(std::string_view symbol) const {
  return peek().kind == Token::Kind::symbol && peek().text == symbol;
}

bool ExpressionParser::is_name(std::string_view name) const {
  return peek().kind == Token::Kind::name && peek().text == name;
}

bool ExpressionParser::skip_symbol(std::string_view symbol) {
  const bool there = is_symbol(symbol);
  if (there) next();
  return there;
}

bool ExpressionParser::skip_name(std::string_view name) {
  const bool there = is_name(name);
  if (there) next();
  return there;
}

void ExpressionParser::expect(Token::Kind kind, const char* shown_kind) {
  if (peek().kind != kind) {
    fail("expected " + std::string(shown_kind) + ", got " + shown(peek()));
  }
  next();
}

void ExpressionParser::expect_symbol(std::string_view symbol) {
  if (!skip_symbol(symbol)) fail("expected " + std::string(symbol) + ", got " + shown(peek()));
}

std::string ExpressionParser::expect_name() {
  if (peek().kind != Token::Kind::name) fail("expected a name, got " + shown(peek()));
  return next().text;
}

void ExpressionParser::expect_name(std::string_view name) {
  if (!skip_name(name)) fail("expected " + std::string(name) + ", got " + shown(peek()));
}

std::string ExpressionParser::shown(const Token& token) {
  switch (token.kind) {
    case Token::Kind::variable_end:
      return "}}";
    case Token::Kind::block_end:
      return "%}";
    case Token::Kind::string:
      return "a string";
    case Token::Kind::end:
      return "the end of the template";
    default:
      return std::string("'").append(token.text, 0, 40) + "'";
  }
}

void ExpressionParser::fail(const std::string& message) const {
  throw FormatError(where_ + ": line " + std::to_string(peek().line) + ": " + message);
}

// ---- Nodes

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
    if (outer.depth > kMostLevels) {
      fail("expected at most " + std::to_string(kMostLevels) +
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
  if (++nesting_ > kMostLevels) {
    fail("expected at most " + std::to_string(kMostLevels) +
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

// ---- What stands behind an expression

ExpressionParser::Node ExpressionParser::parse_postfix(Node node) {
  for (;;) {
    if (is_symbol(".") || is_symbol("[")) {
      node = parse_subscript(std::move(node));
    } else if (is_symbol("(")) {
      node = parse_call(std::move(node));
    } else {
      return node;
    }
  }
}

ExpressionParser::Node ExpressionParser::parse_filters_and_tests(Node node) {
  for (;;) {
    if (is_symbol("|")) {
      next();
      node = parse_filter(std::move(node));
    } else if (is_name("is")) {
      node = parse_test(std::move(node));
    } else if (is_symbol("(")) {
      node = parse_call(std::move(node));
    } else {
      return node;
    }
  }
}

ExpressionParser::Node ExpressionParser::parse_subscript(Node node) {
  const Token& token = next();
  if (token.text == "[") return parse_subscribed(std::move(node));
  if (peek().kind == Token::Kind::integer) {
    Node outer = make(Expression::Kind::item, token.line);
    hold(*outer, std::move(node));
    hold(*outer, parse_number());
    return outer;
  }
  Node outer = make(Expression::Kind::attribute, token.line);
  hold(*outer, std::move(node));
  outer->name = expect_name();
  return outer;
}

ExpressionParser::Node ExpressionParser::parse_subscribed(Node node) {
  Node outer = make(Expression::Kind::item, peek().line);
  hold(*outer, std::move(node));
  ExpressionPtr first = is_symbol(":") ? nullptr : parse_conditional();
  if (skip_symbol(":")) {
    outer->kind = Expression::Kind::slice;
    hold(*outer, std::move(first));
    hold(*outer, is_symbol(":") || is_symbol("]") ? nullptr : parse_conditional());
    const bool has_step = skip_symbol(":") && !is_symbol("]");
    hold(*outer, has_step ? parse_conditional() : nullptr);
  } else if (is_symbol(",")) {
    Node tuple = make(Expression::Kind::tuple, outer->line);
    hold(*tuple, std::move(first));
    while (skip_symbol(",")) hold(*tuple, parse_conditional());
    hold(*outer, std::move(tuple));
  } else {
    hold(*outer, std::move(first));
  }
  expect_symbol("]");
  return outer;
}

void ExpressionParser::parse_arguments(Expression& node) {
  CallArguments& arguments = node.arguments;
  // Their depth counts as that of a part.
  const auto paid = [&](ExpressionPtr inner) {
    hold(node, std::move(inner));
    ExpressionPtr back = std::move(node.parts.back());
    node.parts.pop_back();
    return back;
  };
  expect_symbol("(");
  for (bool more = !is_symbol(")"); more; more = !is_symbol(")")) {
    if (skip_symbol("*")) {
      if (arguments.all_positional || arguments.all_named) fail("expected one *, got a second");
      arguments.all_positional = paid(parse_conditional());
    } else if (skip_symbol("**")) {
      if (arguments.all_named) fail("expected one **, got a second");
      arguments.all_named = paid(parse_conditional());
    } else if (peek().kind == Token::Kind::name && peek(1).kind == Token::Kind::symbol &&
               peek(1).text == "=") {
      if (arguments.all_named) fail("expected ** as the last argument, got one behind it");
      std::string name = expect_name();
      next();
      arguments.named.emplace_back(std::move(name), paid(parse_conditional()));
    } else {
      if (arguments.all_positional || arguments.all_named || !arguments.named.empty()) {
        fail("expected arguments without a name first, got one behind those with");
      }
      arguments.positional.push_back(paid(parse_conditional()));
    }
    if (!is_symbol(")")) expect_symbol(",");
  }
  expect_symbol(")");
}

ExpressionParser::Node ExpressionParser::parse_call(Node node) {
  Node outer = make(Expression::Kind::call, peek().line);
  hold(*outer, std::move(node));
  parse_arguments(*outer);
  return outer;
}

std::string ExpressionParser::parse_dotted_name() {
  std::string name = expect_name();
  while (skip_symbol(".")) name.append(1, '.').append(expect_name());
  return name;
}

ExpressionPtr ExpressionParser::parse_filters(ExpressionPtr value, bool inline_start) {
  while (inline_start || skip_symbol("|")) {
    inline_start = false;
    value = parse_filter(std::move(value));
  }
  return value;
}

ExpressionParser::Node ExpressionParser::parse_filter(Node node) {
  Node outer = make(Expression::Kind::filter, peek().line);
  outer->name = parse_dotted_name();
  hold(*outer, std::move(node));
  if (is_symbol("(")) parse_arguments(*outer);
  return outer;
}

ExpressionParser::Node ExpressionParser::parse_test(Node node) {
  const int line = next().line;
  const bool negated = skip_name("not");
  Node outer = make(Expression::Kind::test, line);
  outer->name = parse_dotted_name();
  hold(*outer, std::move(node));
  const Token& token = peek();
  const bool is_word = token.kind == Token::Kind::name;
  const bool is_value = token.kind == Token::Kind::string || token.kind == Token::Kind::integer ||
                        token.kind == Token::Kind::floating || is_symbol("[") || is_symbol("{");
  if (is_symbol("(")) {
    parse_arguments(*outer);
  } else if (is_word && token.text == "is") {
    fail("expected one test behind an expression, got a second");
  } else if (is_value ||
             (is_word && token.text != "else" && token.text != "or" && token.text != "and")) {
    Node argument = parse_postfix(parse_primary());
    hold(*outer, std::move(argument));
    outer->arguments.positional.push_back(std::move(outer->parts.back()));
    outer->parts.pop_back();
  }
  if (!negated) return outer;
  Node inverted = make(Expression::Kind::logical_not, line);
  hold(*inverted, std::move(outer));
  return inverted;
}

// ---- Targets

Target ExpressionParser::parse_target(std::string_view end, bool attributes) {
  Target target = parse_one_target(attributes);
  if (!is_symbol(",")) return target;
  Target all;
  all.parts.push_back(std::move(target));
  while (skip_symbol(",")) {
    if (is_symbol("=") || is_symbol(")") || (!end.empty() && is_name(end))) break;
    all.parts.push_back(parse_one_target(attributes));
  }
  return all;
}

Target ExpressionParser::parse_one_target(bool attributes) {
  Target target;
  if (skip_symbol("(")) {
    if (++nesting_ > kMostLevels) fail("expected fewer parentheses in one another, got more");
    target = parse_target("", attributes);
    --nesting_;
    expect_symbol(")");
    return target;
  }
  target.name = expect_name();
  constexpr std::string_view kConstants[] = {"true", "false", "none", "True", "False", "None"};
  if (std::ranges::find(kConstants, target.name) != std::end(kConstants)) {
    fail("expected a name to set, got " + target.name);
  }
  if (attributes && skip_symbol(".")) target.attribute = expect_name();
  return target;
}

}  // namespace diffllama::jinja
