#include "chat/jinja/token_reader.h"

#include <algorithm>

#include "diffllama/error.h"

namespace diffllama::jinja {

const Token& TokenReader::peek(std::size_t ahead) const {
  return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
}

const Token& TokenReader::next() {
  const Token& token = peek();
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool TokenReader::is_symbol(std::string_view symbol) const {
  return peek().kind == Token::Kind::symbol && peek().text == symbol;
}

bool TokenReader::is_name(std::string_view name) const {
  return peek().kind == Token::Kind::name && peek().text == name;
}

bool TokenReader::skip_symbol(std::string_view symbol) {
  const bool there = is_symbol(symbol);
  if (there) next();
  return there;
}

bool TokenReader::skip_name(std::string_view name) {
  const bool there = is_name(name);
  if (there) next();
  return there;
}

void TokenReader::expect(Token::Kind kind, const char* shown_kind) {
  if (peek().kind != kind) {
    fail("expected " + std::string(shown_kind) + ", got " + shown(peek()));
  }
  next();
}

void TokenReader::expect_symbol(std::string_view symbol) {
  if (!skip_symbol(symbol)) fail("expected " + std::string(symbol) + ", got " + shown(peek()));
}

std::string TokenReader::expect_name() {
  if (peek().kind != Token::Kind::name) fail("expected a name, got " + shown(peek()));
  return next().text;
}

void TokenReader::expect_name(std::string_view name) {
  if (!skip_name(name)) fail("expected " + std::string(name) + ", got " + shown(peek()));
}

std::string TokenReader::shown(const Token& token) {
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

void TokenReader::fail(const std::string& message) const {
  throw FormatError(where_ + ": line " + std::to_string(peek().line) + ": " + message);
}

}  // namespace diffllama::jinja
