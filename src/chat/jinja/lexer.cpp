#include "chat/jinja/lexer.h"

#include <algorithm>
#include <array>

#include "base/utf8.h"
#include "chat/jinja/functions.h"
#include "chat/jinja/text.h"
#include "diffllama/error.h"

namespace diffllama::jinja {
namespace {

constexpr std::array<std::string_view, 6> kLongSymbols = {"//", "**", "==", "!=", ">=", "<="};
constexpr std::string_view kSymbols = "+-/*%~[](){}><=.:|,;";

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool starts_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}

// Every line break as \n, and the one at the very end gone.
std::string normalized(std::string_view source) {
  std::string text;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    text += source[i] == '\r' ? '\n' : source[i];
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  Lexer(std::string_view source, const std::string& where)
      : source_(normalized(source)), where_(where) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const std::size_t tag = find_tag();
      const char kind = tag < source_.size() ? source_[tag + 1] : ' ';
      const char sign = sign_at(tag + 2);
      add_data(tag, kind, sign);
      if (tag == source_.size()) break;
      move_to(tag + (sign == ' ' ? 2 : 3));
      if (kind == '#') {
        skip_comment();
      } else if (kind == '{') {
        lex_inside(Token::Kind::variable_begin, Token::Kind::variable_end, "}}");
      } else if (!lex_raw()) {
        lex_inside(Token::Kind::block_begin, Token::Kind::block_end, "%}");
      }
    }
    tokens_.push_back({Token::Kind::end, "", line_});
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw FormatError(where_ + ": line " + std::to_string(line_) + ": " + message);
  }

  char at(std::size_t i) const { return i < source_.size() ? source_[i] : '\0'; }
  char sign_at(std::size_t i) const { return at(i) == '-' || at(i) == '+' ? at(i) : ' '; }
  bool is(std::string_view text, std::size_t i) const {
    return std::string_view(source_).substr(std::min(i, source_.size())).starts_with(text);
  }

  void move_to(std::size_t place) {
    line_ +=
        static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                    source_.begin() + static_cast<std::ptrdiff_t>(place), '\n'));
    at_ = place;
  }

  // Where the next {{, {% or {# stands, or the end.
  std::size_t find_tag() const {
    for (std::size_t i = source_.find('{', at_); i != std::string::npos;
         i = source_.find('{', i + 1)) {
      const char next = at(i + 1);
      if (next == '{' || next == '%' || next == '#') return i;
    }
    return source_.size();
  }

  std::size_t skip_spaces(std::size_t i) const {
    while (i < source_.size() && is_space(character_at(source_, i))) {
      i += character_size(source_, i);
    }
    return i;
  }

  // The text before a tag, less the blanks that the tag takes.
  void add_data(std::size_t tag, char kind, char sign) {
    std::string data = source_.substr(at_, tag - at_);
    if (tag < source_.size()) data.resize(kept_before_tag(data, kind, sign));
    if (!data.empty()) tokens_.push_back({Token::Kind::data, std::move(data), line_});
    move_to(tag);
  }

  std::size_t kept_before_tag(const std::string& data, char kind, char sign) const {
    if (sign == '-') return trimmed_end(data);
    if (sign == '+' || kind == '{') return data.size();
    const std::size_t newline = data.rfind('\n');
    const std::size_t begin = newline == std::string::npos ? 0 : newline + 1;
    if (begin == 0 && !line_starts_) return data.size();
    return trimmed_end(data) <= begin ? begin : data.size();
  }

  static std::size_t trimmed_end(const std::string& data) {
    std::size_t end = 0;
    for (std::size_t i = 0; i < data.size();) {
      const bool space = is_space(character_at(data, i));
      i += character_size(data, i);
      if (!space) end = i;
    }
    return end;
  }

  // Moves past the end of a block or comment, `size` bytes behind a sign, and what it takes with
  // it: all blanks after -, else one line break unless there is a +.
  void close(char sign, std::size_t size, bool takes_line_break) {
    std::size_t end = at_ + (sign == ' ' ? 0 : 1) + size;
    if (sign == '-') {
      end = skip_spaces(end);
    } else if (sign == ' ' && takes_line_break && at(end) == '\n') {
      ++end;
    }
    move_to(end);
    line_starts_ = source_[at_ - 1] == '\n';
  }

  void skip_comment() {
    const std::size_t end = source_.find("#}", at_);
    if (end == std::string::npos) fail("expected the end of a comment, got none");
    const char sign = end > at_ ? sign_at(end - 1) : ' ';
    move_to(sign == ' ' ? end : end - 1);
    close(sign, 2, true);
  }

  // {% raw %} ... {% endraw %}, from behind the {% and its sign.
  bool lex_raw() {
    std::size_t i = skip_spaces(at_);
    if (!is("raw", i)) return false;
    i = skip_spaces(i + 3);
    const char sign = at(i) == '-' ? '-' : ' ';
    if (!is("%}", i + (sign == '-' ? 1 : 0))) return false;
    move_to(i);
    close(sign, 2, false);
    for (std::size_t open = source_.find("{%", at_); open != std::string::npos;
         open = source_.find("{%", open + 2)) {
      const char before = sign_at(open + 2);
      const std::size_t word = skip_spaces(open + (before == ' ' ? 2 : 3));
      const std::size_t behind = is("endraw", word) ? skip_spaces(word + 6) : word;
      const char after = sign_at(behind);
      if (!is("endraw", word) || !is("%}", behind + (after == ' ' ? 0 : 1))) continue;
      add_data(open, '%', before);
      move_to(behind);
      close(after, 2, true);
      return true;
    }
    fail("expected endraw, got the end of the template");
  }

  // A tag's tokens up to its end, which does not count inside brackets.
  void lex_inside(Token::Kind begin, Token::Kind end, std::string_view closing) {
    tokens_.push_back({begin, "", line_});
    std::string open;  // brackets
    for (;;) {
      move_to(skip_spaces(at_));
      if (at_ >= source_.size()) {
        fail("expected " + std::string(closing) + ", got the end of the template");
      }
      const char sign = end == Token::Kind::variable_end && at(at_) == '+' ? ' ' : sign_at(at_);
      if (open.empty() && is(closing, at_ + (sign == ' ' ? 0 : 1))) {
        tokens_.push_back({end, "", line_});
        close(sign, closing.size(), end == Token::Kind::block_end);
        return;
      }
      lex_token(open);
    }
  }

  void lex_token(std::string& open) {
    const char c = source_[at_];
    if (starts_name(c)) return lex_name();
    if (is_digit(c)) return lex_number();
    if (c == '\'' || c == '"') return lex_string();
    for (const std::string_view symbol : kLongSymbols) {
      if (is(symbol, at_)) return add_symbol(symbol);
    }
    if (kSymbols.find(c) == std::string_view::npos) {
      fail("expected an expression, got the character '" +
           source_.substr(at_, character_size(source_, at_)) + "'");
    }
    if (c == '(') open += ')';
    if (c == '[') open += ']';
    if (c == '{') open += '}';
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) {
        fail(std::string("expected brackets in pairs, got a single ") + c);
      }
      open.pop_back();
    }
    add_symbol(std::string_view(source_).substr(at_, 1));
  }

  void add(Token::Kind kind, std::string text, std::size_t end) {
    tokens_.push_back({kind, std::move(text), line_});
    move_to(end);
  }
  void add_symbol(std::string_view symbol) {
    const std::size_t end = at_ + symbol.size();
    add(Token::Kind::symbol, std::string(symbol), end);
  }

  void lex_name() {
    std::size_t end = at_;
    while (end < source_.size() && (starts_name(source_[end]) || is_digit(source_[end]))) ++end;
    add(Token::Kind::name, source_.substr(at_, end - at_), end);
  }

  // Digits, perhaps with single _ between them.
  std::size_t skip_digits(std::size_t i) const {
    while (is_digit(at(i)) || (at(i) == '_' && is_digit(at(i + 1)))) ++i;
    return i;
  }

  void lex_number() {
    std::size_t end = skip_digits(at_);
    bool floating = false;
    if (at(end) == '.' && is_digit(at(end + 1))) {
      end = skip_digits(end + 1);
      floating = true;
    }
    if (at(end) == 'e' || at(end) == 'E') {
      const std::size_t digits = end + (at(end + 1) == '+' || at(end + 1) == '-' ? 2 : 1);
      if (is_digit(at(digits))) {
        end = skip_digits(digits);
        floating = true;
      }
    }
    std::string text = source_.substr(at_, end - at_);
    std::erase(text, '_');
    add(floating ? Token::Kind::floating : Token::Kind::integer, std::move(text), end);
  }

  void lex_string() {
    const char quote = source_[at_];
    std::size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) fail("expected the end of a string, got the end of the template");
    std::string text = unescape(std::string_view(source_).substr(at_ + 1, end - at_ - 1));
    add(Token::Kind::string, std::move(text), end + 1);
  }

  // Python's escapes.
  std::string unescape(std::string_view raw) const {
    std::string text;
    for (std::size_t i = 0; i < raw.size(); ++i) {
      if (raw[i] != '\\') {
        text += raw[i];
      } else {
        i = unescape_one(raw, i + 1, text);
      }
    }
    return text;
  }

  // What stands behind a backslash; returns the last byte it took.
  std::size_t unescape_one(std::string_view raw, std::size_t i, std::string& text) const {
    constexpr std::string_view kFrom = "\\'\"abfnrtv";
    constexpr std::string_view kTo = "\\'\"\a\b\f\n\r\t\v";
    const char c = raw[i];
    if (const auto known = kFrom.find(c); known != std::string_view::npos) {
      text += kTo[known];
    } else if (c == '\n') {
      // goes on in the next line
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const std::size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      append_utf8(text, code_of(raw, i + 1, digits, 16));
      return i + digits;
    } else if (c >= '0' && c <= '7') {
      std::size_t digits = 1;
      while (digits < 3 && i + digits < raw.size() && raw[i + digits] >= '0' &&
             raw[i + digits] <= '7') {
        ++digits;
      }
      append_utf8(text, code_of(raw, i, digits, 8));
      return i + digits - 1;
    } else {
      text += '\\';
      text += c;
    }
    return i;
  }

  char32_t code_of(std::string_view raw, std::size_t begin, std::size_t digits, int base) const {
    const std::string number(raw.substr(std::min(begin, raw.size()), digits));
    const std::string_view allowed = base == 8 ? "01234567" : "0123456789abcdefABCDEF";
    if (number.size() < digits || number.find_first_not_of(allowed) != std::string::npos) {
      fail("expected " + std::to_string(digits) + " digits of an escaped character, got " + number);
    }
    const unsigned long code = std::stoul(number, nullptr, base);
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
      fail("expected an escaped character of Unicode, got " + number);
    }
    return static_cast<char32_t>(code);
  }

  std::string source_;
  const std::string& where_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;  // the tag before, if any, took a line break with it
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source, const std::string& where) {
  return Lexer(source, where).run();
}

}  // namespace diffllama::jinja
