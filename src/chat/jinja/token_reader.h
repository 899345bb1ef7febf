#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chat/jinja/lexer.h"

namespace diffllama::jinja {

/// Goes through a template's tokens. Throws FormatError, which starts with `where` and the line.
class TokenReader {
 public:
  TokenReader(std::vector<Token> tokens, std::string where)
      : tokens_(std::move(tokens)), where_(std::move(where)) {}

 protected:
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

 private:
  std::vector<Token> tokens_;
  std::string where_;
  std::size_t at_ = 0;
};

}  // namespace diffllama::jinja
