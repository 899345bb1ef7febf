// Statements; expressions are in expression_parser.cpp.
#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "chat/jinja/expression_parser.h"
#include "chat/jinja/syntax.h"

namespace diffllama::jinja {
namespace {

using Kind = Statement::Kind;
using Words = std::span<const std::string_view>;

constexpr int kMostLevels = 100;  // of statements in one another

class Parser : private ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Body run() {
    Body body = parse_body({});
    return body;
  }

 private:
  // Statements up to a tag that starts with one of `ends`, which is left behind the {%.
  Body parse_body(Words ends) {
    if (++levels_ > kMostLevels) {
      fail("expected at most " + std::to_string(kMostLevels) +
           " statements in one another, got more");
    }
    Body body;
    for (;;) {
      const Token& token = next();
      if (token.kind == Token::Kind::end) {
        if (!ends.empty())
          fail("expected " + std::string(ends.back()) + ", got the end of the template");
        break;
      }
      if (token.kind == Token::Kind::data) {
        Statement& text = add(body, Kind::text, token.line);
        text.text = token.text;
      } else if (token.kind == Token::Kind::variable_begin) {
        Statement& output = add(body, Kind::output, token.line);
        output.expressions.push_back(parse_tuple());
        expect(Token::Kind::variable_end, "}}");
      } else {
        const bool at_end =
            peek().kind == Token::Kind::name && std::ranges::find(ends, peek().text) != ends.end();
        if (at_end) break;
        parse_statement(body);
        expect(Token::Kind::block_end, "%}");
      }
    }
    --levels_;
    return body;
  }

  // What stands between a tag and one that starts with one of `ends`.
  template <std::size_t size>
  Body parse_inside(const std::array<std::string_view, size>& ends) {
    skip_symbol(":");
    expect(Token::Kind::block_end, "%}");
    return parse_body(ends);
  }
  // The same up to a tag of one word.
  Body parse_until(std::string_view end) {
    Body body = parse_inside(std::array{end});
    next();
    return body;
  }

  static Statement& add(Body& body, Kind kind, int line) {
    Statement& statement = body.emplace_back();
    statement.kind = kind;
    statement.line = line;
    return statement;
  }

  void parse_statement(Body& body) {
    const Token token = next();
    if (token.kind != Token::Kind::name) fail("expected the name of a tag, got " + shown(token));
    const std::string& tag = token.text;
    const int line = token.line;
    if (tag == "if") return parse_if(add(body, Kind::condition, line));
    if (tag == "for") return parse_for(add(body, Kind::loop, line));
    if (tag == "set") return parse_set(add(body, Kind::set, line));
    if (tag == "macro") return parse_macro(add(body, Kind::macro, line));
    if (tag == "call") return parse_call_block(add(body, Kind::call, line));
    if (tag == "filter") return parse_filter_block(add(body, Kind::filter, line));
    if (tag == "with") return parse_with(add(body, Kind::with, line));
    if (tag == "print") return parse_print(add(body, Kind::output, line));
    if (tag == "generation") {
      add(body, Kind::generation, line).body = parse_until("endgeneration");
      return;
    }
    if (tag == "block") return parse_block(add(body, Kind::scope, line));
    if (tag == "autoescape") return parse_autoescape(add(body, Kind::scope, line));
    if (tag == "break" || tag == "continue") {
      if (loops_ == 0) fail("expected " + tag + " inside a loop, got it outside");
      add(body, tag == "break" ? Kind::break_loop : Kind::continue_loop, line);
      return;
    }
    fail("expected a known tag, got '" + tag.substr(0, 40) + "'");
  }

  void parse_if(Statement& statement) {
    static constexpr std::array<std::string_view, 3> kEnds = {"elif", "else", "endif"};
    for (;;) {
      Branch branch;
      branch.condition = parse_tuple(false);
      branch.body = parse_inside(kEnds);
      statement.branches.push_back(std::move(branch));
      const std::string end = next().text;
      if (end == "elif") continue;
      if (end == "else") statement.branches.push_back({nullptr, parse_until("endif")});
      return;
    }
  }

  void parse_for(Statement& statement) {
    static constexpr std::array<std::string_view, 2> kEnds = {"endfor", "else"};
    statement.targets.push_back(parse_target("in"));
    expect_name("in");
    statement.expressions.push_back(parse_tuple(false, "recursive"));
    statement.expressions.push_back(skip_name("if") ? parse_expression() : nullptr);
    statement.recursive = skip_name("recursive");
    ++loops_;
    statement.body = parse_inside(kEnds);
    --loops_;
    if (next().text == "else") statement.otherwise = parse_until("endfor");
  }

  void parse_set(Statement& statement) {
    statement.targets.push_back(parse_target("", true));
    if (skip_symbol("=")) {
      statement.expressions.push_back(parse_tuple());
      return;
    }
    statement.kind = Kind::set_block;
    statement.expressions.push_back(parse_filters(nullptr));
    statement.body = parse_until("endset");
  }

  void parse_parameters(Statement& statement) {
    expect_symbol("(");
    while (!is_symbol(")")) {
      if (!statement.parameters.empty()) expect_symbol(",");
      Parameter parameter{expect_name(), nullptr};
      if (skip_symbol("=")) {
        parameter.otherwise = parse_expression();
      } else if (!statement.parameters.empty() && statement.parameters.back().otherwise) {
        fail("expected parameters with defaults behind those without, got " + parameter.name);
      }
      statement.parameters.push_back(std::move(parameter));
    }
    expect_symbol(")");
  }

  // A body that is carried out elsewhere: break does not leave a loop around it.
  void parse_function(Statement& statement, std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    const SpecialNames outer = std::exchange(special_names_, {});
    statement.body = parse_until(end);
    loops_ = loops;
    statement.special = special_names_;
    special_names_.varargs |= outer.varargs;
    special_names_.kwargs |= outer.kwargs;
    special_names_.caller |= outer.caller;
  }

  void parse_macro(Statement& statement) {
    statement.name = expect_name();
    parse_parameters(statement);
    parse_function(statement, "endmacro");
  }

  void parse_call_block(Statement& statement) {
    if (is_symbol("(")) parse_parameters(statement);
    statement.expressions.push_back(parse_expression());
    if (statement.expressions.front()->kind != Expression::Kind::call) {
      fail("expected a call behind the tag call, got something else");
    }
    parse_function(statement, "endcall");
  }

  void parse_filter_block(Statement& statement) {
    statement.expressions.push_back(parse_filters(nullptr, true));
    statement.body = parse_until("endfilter");
  }

  void parse_with(Statement& statement) {
    while (peek().kind != Token::Kind::block_end) {
      if (!statement.targets.empty()) expect_symbol(",");
      statement.targets.push_back(parse_target(""));
      expect_symbol("=");
      statement.expressions.push_back(parse_expression());
    }
    statement.body = parse_until("endwith");
  }

  void parse_print(Statement& statement) {
    while (peek().kind != Token::Kind::block_end) {
      if (!statement.expressions.empty()) expect_symbol(",");
      statement.expressions.push_back(parse_expression());
    }
  }

  void parse_block(Statement& statement) {
    statement.name = expect_name();
    skip_name("scoped");
    skip_name("required");
    statement.body = parse_until("endblock");
    skip_name(statement.name);
  }

  void parse_autoescape(Statement& statement) {
    const ExpressionPtr setting = parse_expression();
    if (setting->kind != Expression::Kind::constant || is_true(setting->value)) {
      fail("expected autoescape false, got another setting");
    }
    statement.body = parse_until("endautoescape");
  }

  int levels_ = 0;
  int loops_ = 0;  // that the statement is in, inside its macro
};

}  // namespace

Body parse_template(std::string_view source, const std::string& where) {
  return Parser(tokenize(source, where), where).run();
}

}  // namespace diffllama::jinja
