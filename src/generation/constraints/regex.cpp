#include "generation/constraints/regex.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "diffllama/error.h"

namespace diffllama {
namespace {

constexpr int kMostDepth = 200;
constexpr std::int64_t kMostRepetitions = 1000000;

CodePoints set_of(std::initializer_list<CodePoints::Range> ranges) {
  CodePoints set;
  for (const auto& [first, last] : ranges) set.add(first, last);
  return set;
}

CodePoints find_category(std::string_view name) {
  CodePoints set;
  char32_t first = 0;
  bool inside = false;
  for (char32_t c = 0; c <= CodePoints::kLast + 1; ++c) {
    const bool in = c <= CodePoints::kLast &&
                    std::string_view(utf8proc_category_string(static_cast<utf8proc_int32_t>(c)))
                        .starts_with(name);
    if (in && !inside) first = c;
    if (!in && inside) set.add(first, c - 1);
    inside = in;
  }
  return set;
}

// The code points whose general category is, or begins with, `name` ("Lu", "L"); none of others.
// Each is found once: that takes milliseconds.
CodePoints category(std::string_view name) {
  static std::mutex mutex;
  static std::map<std::string, CodePoints, std::less<>> found;
  if (name.empty() || name.size() > 2) return {};
  const std::scoped_lock lock(mutex);
  auto entry = found.find(name);
  if (entry == found.end()) {
    CodePoints set = find_category(name);
    if (set.empty()) return set;
    entry = found.emplace(name, std::move(set)).first;
  }
  return entry->second;
}

// What \\d, \\w and \\s stand for. ECMA-262 and Python's re, which others check texts with, differ
// in it: `all` of either, or what both agree on. A text must not match for one and break for the
// other.
CodePoints digits(bool all) {
  CodePoints set = CodePoints::of('0', '9');
  if (all) set.add(category("Nd"));
  return set;
}
CodePoints word(bool all) {
  CodePoints set = set_of({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}});
  if (!all) return set;
  set.add(category("L"));
  set.add(category("N"));
  return set;
}
CodePoints spaces(bool all) {
  CodePoints set = set_of({{9, 13},
                           {' ', ' '},
                           {0xA0, 0xA0},
                           {0x1680, 0x1680},
                           {0x2000, 0x200A},
                           {0x2028, 0x2029},
                           {0x202F, 0x202F},
                           {0x205F, 0x205F},
                           {0x3000, 0x3000}});
  if (all) set.add(set_of({{0x1C, 0x1F}, {0x85, 0x85}, {0xFEFF, 0xFEFF}}));
  return set;
}
CodePoints not_line_ends() {
  return set_of({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}).complement();
}

class Parser {
 public:
  Parser(Grammar& grammar, std::string_view regex, bool search)
      : grammar_(grammar), rest_(regex), size_(regex.size()), search_(search) {}

  Grammar::Expression parse() {
    const Grammar::Expression result = alternatives(true, true);
    if (!rest_.empty()) fail("the end or an operator");
    return result;
  }

 private:
  using Expression = Grammar::Expression;

  [[noreturn]] void fail(const std::string& expected) const {
    const std::string found =
        rest_.empty() ? "the end" : std::string{'"'}.append(rest_.substr(0, 12)) + '"';
    throw InvalidArgument(grammar_.where() + ": regular expression: expected " + expected +
                          ", got " + found + " at byte " + std::to_string(size_ - rest_.size()));
  }
  bool take(std::string_view text) {
    if (!rest_.starts_with(text)) return false;
    rest_.remove_prefix(text.size());
    return true;
  }
  char32_t take_character() {
    if (const auto c = take_code_point(rest_)) return *c;
    fail("UTF-8");
  }
  Expression anything() {
    return grammar_.repeat(grammar_.characters(CodePoints::all()), 0, Grammar::kUnbounded);
  }

  // at_start, at_end: whether what is parsed begins or ends the text, so that anchors may stand
  // there.
  Expression alternatives(bool at_start, bool at_end) {
    if (++depth_ > kMostDepth) fail("groups nested at most 200 deep");
    std::vector<Expression> choices = {sequence(at_start, at_end)};
    while (take("|")) choices.push_back(sequence(at_start, at_end));
    --depth_;
    return grammar_.alternatives(std::move(choices));
  }

  Expression sequence(bool at_start, bool at_end) {
    std::vector<Expression> parts;
    bool anchored_start = !at_start, anchored_end = !at_end;
    bool grouped_start = false, grouped_end = false;
    while (take("^")) {
      if (!at_start) fail_anchor("^");
      anchored_start = true;
    }
    while (!rest_.empty() && rest_[0] != '|' && rest_[0] != ')') {
      if (take("$")) {
        if (!at_end || (!rest_.empty() && rest_[0] != '|' && rest_[0] != ')' && rest_[0] != '$')) {
          fail_anchor("$");
        }
        anchored_end = true;
        continue;
      }
      if (rest_[0] == '^') fail_anchor("^");
      // A group that is the whole sequence may have the anchors.
      const bool group = is_group();
      const bool first = parts.empty() && !anchored_start && group && closes_at_end();
      if (first) {
        parts.push_back(quantified(true, true));
        grouped_start = grouped_end = true;
      } else {
        parts.push_back(quantified(false, false));
      }
    }
    if (search_ && !anchored_start && !grouped_start) parts.insert(parts.begin(), anything());
    if (search_ && !anchored_end && !grouped_end) parts.push_back(anything());
    return grammar_.sequence(std::move(parts));
  }
  [[noreturn]] void fail_anchor(const std::string& anchor) const {
    fail("no " + anchor + " but at the ends of the expression, before");
  }
  bool is_group() const { return rest_.starts_with("("); }
  // The group that begins here is followed by nothing but the sequence's end, and no quantifier.
  bool closes_at_end() const {
    int depth = 0;
    bool in_class = false;
    for (std::size_t i = 0; i < rest_.size(); ++i) {
      const char c = rest_[i];
      if (c == '\\') {
        ++i;
      } else if (in_class) {
        in_class = c != ']';
      } else if (c == '[') {
        in_class = true;
      } else if (c == '(') {
        ++depth;
      } else if (c == ')' && --depth == 0) {
        return i + 1 == rest_.size() || rest_[i + 1] == '|' || rest_[i + 1] == ')';
      }
    }
    return false;
  }

  // Whether the { that comes next stands for itself: where it begins no count, nor {,N}, which is
  // one for Python alone. So it is in expressions without the u flag, and in Python's.
  bool brace_is_character() const {
    const auto digits_end = [&](std::size_t at) {
      while (at < rest_.size() && rest_[at] >= '0' && rest_[at] <= '9') ++at;
      return at;
    };
    std::size_t at = digits_end(1);
    bool count = at > 1;
    if (rest_.substr(at).starts_with(",")) {
      count = true;
      at = digits_end(at + 1);
    }
    return !count || !rest_.substr(at).starts_with("}");
  }

  Expression quantified(bool at_start, bool at_end) {
    Expression part = atom(at_start, at_end);
    bool repeated = false;
    while (!rest_.empty()) {
      std::int64_t least = 0, most = Grammar::kUnbounded;
      if (take("*")) {
      } else if (take("+")) {
        least = 1;
      } else if (take("?")) {
        if (repeated) {  // lazy: the same texts
          repeated = false;
          continue;
        }
        most = 1;
      } else if (rest_[0] == '{' && !brace_is_character()) {
        take("{");
        least = number();
        most = least;
        if (take(",")) most = rest_.starts_with("}") ? Grammar::kUnbounded : number();
        if (!take("}")) fail("}");
        if (most != Grammar::kUnbounded && most < least) fail("bounds in ascending order before");
      } else {
        break;
      }
      if (repeated) fail("one quantifier before");
      part = grammar_.repeat(part, least, most);
      repeated = true;
    }
    return part;
  }
  std::int64_t number() {
    std::int64_t value = 0;
    if (rest_.empty() || rest_[0] < '0' || rest_[0] > '9') fail("a number");
    while (!rest_.empty() && rest_[0] >= '0' && rest_[0] <= '9') {
      value = value * 10 + (rest_[0] - '0');
      if (value > kMostRepetitions) fail("at most 1000000 repetitions");
      rest_.remove_prefix(1);
    }
    return value;
  }

  Expression atom(bool at_start, bool at_end) {
    if (take("(")) {
      if (take("?")) {
        if (take("<") && !rest_.starts_with("=") && !rest_.starts_with("!")) {
          while (!rest_.empty() && rest_[0] != '>') rest_.remove_prefix(1);
          if (!take(">")) fail(">");
        } else if (!take(":")) {
          fail("a group without lookaround or flags");
        }
      }
      const Expression inside = alternatives(at_start, at_end);
      if (!take(")")) fail(")");
      return inside;
    }
    if (take("[")) return grammar_.characters(character_class());
    if (take(".")) return grammar_.characters(not_line_ends());
    if (take("\\")) return grammar_.characters(escape(false, false));
    if (std::string_view("*+?").find(rest_[0]) != std::string_view::npos ||
        (rest_[0] == '{' && !brace_is_character())) {
      fail("a character (\\ before it if it is meant as such)");
    }
    const char32_t c = take_character();
    return grammar_.characters(CodePoints::of(c, c));
  }

  CodePoints character_class() {
    const bool negated = take("^");
    CodePoints set;
    while (!take("]")) {
      if (rest_.empty()) fail("]");
      const CodePoints first = class_atom(negated);
      // What adding it to the set takes.
      const std::size_t others = set.ranges().size();
      grammar_.step(1 + others / 256 +
                    (is_single(first) ? 0 : (others + first.ranges().size()) / 8));
      if (!rest_.starts_with("-") || rest_.starts_with("-]")) {
        set.add(first);
        continue;
      }
      take("-");
      if (rest_.empty()) fail("]");
      const CodePoints last = class_atom(negated);
      if (!is_single(first) || !is_single(last) ||
          first.ranges()[0].first > last.ranges()[0].first) {
        fail("a range of characters in ascending order before");
      }
      set.add(first.ranges()[0].first, last.ranges()[0].first);
    }
    return negated ? set.complement() : set;
  }
  static bool is_single(const CodePoints& set) {
    return set.ranges().size() == 1 && set.ranges()[0].first == set.ranges()[0].last;
  }
  CodePoints class_atom(bool negated) {
    if (take("\\")) return escape(true, negated);
    const char32_t c = take_character();
    return CodePoints::of(c, c);
  }

  CodePoints escape(bool in_class, bool negated) {
    if (rest_.empty()) fail("a character after \\");
    const auto single = [](char32_t c) { return CodePoints::of(c, c); };
    const char32_t c = take_character();
    switch (c) {
      case 'd':
        return digits(negated);
      case 'D':
        return digits(!negated).complement();
      case 'w':
        return word(negated);
      case 'W':
        return word(!negated).complement();
      case 's':
        return spaces(negated);
      case 'S':
        return spaces(!negated).complement();
      case 'n':
        return single('\n');
      case 'r':
        return single('\r');
      case 't':
        return single('\t');
      case 'v':
        return single('\v');
      case 'f':
        return single('\f');
      case '0':
        return single(0);
      case 'x':
        return single(hex(2));
      case 'u':
        return single(take("{") ? braced_hex() : hex(4));
      case 'p':
        return property();
      case 'P':
        return property().complement();
      case 'c': {
        const char32_t letter = take_character();
        const char32_t lower = letter | 0x20;
        if (lower < 'a' || lower > 'z') fail("a letter after \\c, before");
        return single(letter & 0x1F);
      }
      case 'b':
        if (in_class) return single('\b');
        break;
      case '-':
        if (in_class) return single('-');
        break;
      default:
        break;
    }
    const bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
    if (c < 0x80 && !letter && (c < '0' || c > '9')) return single(c);
    fail("an escape that is supported (no backreference, no \\b) before");
  }
  char32_t hex_digit() {
    if (!rest_.empty()) {
      const char c = rest_[0];
      rest_.remove_prefix(1);
      if (c >= '0' && c <= '9') return static_cast<char32_t>(c - '0');
      const char lower = static_cast<char>(c | 0x20);
      if (lower >= 'a' && lower <= 'f') return static_cast<char32_t>(lower - 'a' + 10);
    }
    fail("a hexadecimal digit before");
  }
  char32_t hex_digits(int count) {
    char32_t value = 0;
    for (int i = 0; i < count; ++i) value = value * 16 + hex_digit();
    return value;
  }
  char32_t hex(int count) {
    char32_t value = hex_digits(count);
    if (value >= 0xD800 && value <= 0xDBFF && take("\\u")) {
      const char32_t low = hex_digits(4);
      if (low < 0xDC00 || low > 0xDFFF) fail("the second half of a character before");
      value = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
    }
    return checked(value);
  }
  char32_t braced_hex() {
    char32_t value = 0;
    do {
      value = value * 16 + hex_digit();
      if (value > CodePoints::kLast) fail("a code point up to 10FFFF before");
    } while (!take("}"));
    return checked(value);
  }
  char32_t checked(char32_t value) const {
    if (CodePoints::of(value, value).empty()) fail("a code point that UTF-8 has before");
    return value;
  }
  CodePoints property() {
    const std::size_t end = rest_.find('}');
    if (!take("{") || end == std::string_view::npos) fail("{");
    std::string_view name = rest_.substr(0, end - 1);
    for (const std::string_view prefix : {"General_Category=", "gc="}) {
      if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
    }
    CodePoints set = category(name);
    if (set.empty()) fail("a general category such as L or Lu");
    rest_.remove_prefix(end);
    return set;
  }

  Grammar& grammar_;
  std::string_view rest_;
  std::size_t size_;
  bool search_;
  int depth_ = 0;
};

}  // namespace

Grammar::Expression parse_regex(Grammar& grammar, std::string_view regex, bool search) {
  return Parser(grammar, regex, search).parse();
}

}  // namespace diffllama
