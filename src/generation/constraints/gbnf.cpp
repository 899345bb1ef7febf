#include "generation/constraints/gbnf.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/utf8.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

constexpr int kMostDepth = 200;
constexpr std::int64_t kMostRepetitions = 1000000;

class Parser {
 public:
  Parser(Grammar& grammar, std::string_view text) : grammar_(grammar), text_(text), rest_(text) {}

  Grammar::Rule parse() {
    for (skip_space(true); !rest_.empty(); skip_space(true)) rule();
    const auto root = rules_.find("root");
    if (root == rules_.end() || !defined_.at(root->second)) {
      throw InvalidArgument(grammar_.where() + ": expected a rule \"root\", got none");
    }
    return root->second;
  }

 private:
  using Expression = Grammar::Expression;

  [[noreturn]] void fail(const std::string& expected) const {
    const auto read = text_.substr(0, text_.size() - rest_.size());
    const std::string found =
        rest_.empty() ? "the end" : std::string{'"'}.append(rest_.substr(0, 12)) + '"';
    throw InvalidArgument(grammar_.where() + ": line " +
                          std::to_string(1 + std::ranges::count(read, '\n')) + ": expected " +
                          expected + ", got " + found);
  }
  bool take(std::string_view text) {
    if (!rest_.starts_with(text)) return false;
    rest_.remove_prefix(text.size());
    return true;
  }
  void skip_space(bool newlines) {
    while (!rest_.empty()) {
      const char c = rest_[0];
      if (c == '#') {
        rest_.remove_prefix(std::min(rest_.find_first_of("\r\n"), rest_.size()));
      } else if (c == ' ' || c == '\t' || (newlines && (c == '\n' || c == '\r'))) {
        rest_.remove_prefix(1);
      } else {
        return;
      }
    }
  }
  static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  }
  std::string name() {
    std::size_t size = 0;
    while (size < rest_.size() && is_word(rest_[size])) ++size;
    if (size == 0) fail("the name of a rule");
    std::string result(rest_.substr(0, size));
    rest_.remove_prefix(size);
    return result;
  }
  Grammar::Rule rule_named(const std::string& name) {
    const auto [entry, added] = rules_.try_emplace(name, 0);
    if (added) {
      entry->second = grammar_.add_rule(name);
      defined_[entry->second] = false;
    }
    return entry->second;
  }

  void rule() {
    const Grammar::Rule rule = rule_named(name());
    if (defined_[rule]) fail("each rule once, before");
    defined_[rule] = true;
    skip_space(false);
    if (!take("::=")) fail("::=");
    skip_space(true);
    grammar_.define(rule, alternatives(false));
    if (!rest_.empty() && rest_[0] != '\n' && rest_[0] != '\r') fail("the end of the line");
  }

  Expression alternatives(bool nested) {
    if (++depth_ > kMostDepth) fail("groups nested at most 200 deep");
    std::vector<Expression> choices = {sequence(nested)};
    while (take("|")) {
      skip_space(true);
      choices.push_back(sequence(nested));
    }
    --depth_;
    return grammar_.alternatives(std::move(choices));
  }

  Expression sequence(bool nested) {
    std::vector<Expression> parts;
    while (!rest_.empty()) {
      const char c = rest_[0];
      if (c == '"') {
        parts.push_back(literal());
      } else if (take("[")) {
        parts.push_back(grammar_.characters(character_class()));
      } else if (take(".")) {
        parts.push_back(grammar_.characters(CodePoints::all()));
      } else if (take("(")) {
        skip_space(true);
        parts.push_back(alternatives(true));
        if (!take(")")) fail(")");
      } else if (is_word(c)) {
        parts.push_back(grammar_.reference(rule_named(name())));
      } else {
        break;
      }
      skip_space(nested);
      quantify(parts.back(), nested);
    }
    return grammar_.sequence(std::move(parts));
  }

  void quantify(Expression& part, bool nested) {
    while (!rest_.empty()) {
      std::int64_t least = 0, most = Grammar::kUnbounded;
      if (take("+")) {
        least = 1;
      } else if (take("?")) {
        most = 1;
      } else if (take("{")) {
        skip_space(nested);
        least = number();
        most = least;
        skip_space(nested);
        if (take(",")) {
          skip_space(nested);
          most = rest_.starts_with("}") ? Grammar::kUnbounded : number();
          skip_space(nested);
        }
        if (!take("}")) fail("}");
        if (most != Grammar::kUnbounded && most < least) fail("bounds in ascending order before");
      } else if (!take("*")) {
        return;
      }
      part = grammar_.repeat(part, least, most);
      skip_space(nested);
    }
  }
  std::int64_t number() {
    if (rest_.empty() || rest_[0] < '0' || rest_[0] > '9') fail("a number");
    std::int64_t value = 0;
    while (!rest_.empty() && rest_[0] >= '0' && rest_[0] <= '9') {
      value = value * 10 + (rest_[0] - '0');
      if (value > kMostRepetitions) fail("at most 1000000 repetitions");
      rest_.remove_prefix(1);
    }
    return value;
  }

  Expression literal() {
    take("\"");
    std::string text;
    while (!take("\"")) {
      if (rest_.empty() || rest_[0] == '\n') fail("\"");
      append_utf8(text, character());
    }
    return grammar_.text(text);
  }
  CodePoints character_class() {
    const bool negated = take("^");
    CodePoints set;
    while (!take("]")) {
      if (rest_.empty()) fail("]");
      const char32_t first = character();
      char32_t last = first;
      if (rest_.starts_with("-") && !rest_.starts_with("-]")) {
        take("-");
        if (rest_.empty()) fail("]");
        last = character();
        if (last < first) fail("a range in ascending order before");
      }
      grammar_.step(1 + set.ranges().size() / 256);
      set.add(first, last);
    }
    return negated ? set.complement() : set;
  }
  char32_t character() {
    if (!take("\\")) {
      if (const auto c = take_code_point(rest_)) return *c;
      fail("UTF-8");
    }
    if (take("x")) return hex(2);
    if (take("u")) return hex(4);
    if (take("U")) return hex(8);
    if (take("n")) return '\n';
    if (take("r")) return '\r';
    if (take("t")) return '\t';
    for (const char c : std::string_view("\\\"[]")) {
      if (take(std::string_view(&c, 1))) return static_cast<char32_t>(c);
    }
    fail(R"(one of the escapes \n \r \t \\ \" \[ \] \x \u \U)");
  }
  char32_t hex(int digits) {
    std::uint64_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const char c = rest_.empty() ? ' ' : rest_[0];
      const char lower = static_cast<char>(c | 0x20);
      if (c >= '0' && c <= '9') {
        value = value * 16 + static_cast<std::uint64_t>(c - '0');
      } else if (lower >= 'a' && lower <= 'f') {
        value = value * 16 + static_cast<std::uint64_t>(lower - 'a' + 10);
      } else {
        fail("a hexadecimal digit");
      }
      rest_.remove_prefix(1);
    }
    const auto c = static_cast<char32_t>(value);
    if (value > CodePoints::kLast || CodePoints::of(c, c).empty()) {
      fail("a code point that UTF-8 has before");
    }
    return c;
  }

  Grammar& grammar_;
  std::string_view text_, rest_;
  std::map<std::string, Grammar::Rule, std::less<>> rules_;
  std::map<Grammar::Rule, bool> defined_;
  int depth_ = 0;
};

}  // namespace

Grammar::Rule parse_gbnf(Grammar& grammar, std::string_view text) {
  return Parser(grammar, text).parse();
}

}  // namespace diffllama
