#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace diffllama::jinja {

struct Token {
  enum class Kind {
    data,  // text between the tags
    variable_begin,
    variable_end,
    block_begin,
    block_end,
    name,
    string,   // unescaped
    integer,  // digits as the template writes them, without _
    floating,
    symbol,  // an operator, bracket or comma
    end,
  };
  Kind kind = Kind::end;
  std::string text;
  int line = 1;
};

/// The tokens of a template with Jinja's syntax and the settings trim_blocks and lstrip_blocks;
/// comments are gone, raw blocks are data, the last token is `end`. Throws FormatError, which
/// starts with `where` and the line.
std::vector<Token> tokenize(std::string_view source, const std::string& where);

}  // namespace diffllama::jinja
