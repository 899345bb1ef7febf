// What stands behind an expression (subscripts, calls, filters, tests), and targets.
#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

#include "chat/jinja/expression_parser.h"

namespace diffllama::jinja {

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
    if (++nesting_ > kMostExpressionLevels)
      fail("expected fewer parentheses in one another, got more");
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
