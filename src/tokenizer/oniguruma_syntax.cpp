#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/oniguruma_syntax.h"

#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <vector>

#include "base/utf8.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

// The contents of sets, for use inside brackets. PCRE2's own \s has U+180E too, and its \w lacks
// marks. Oniguruma's \w by itself (and \b) has superscripts and fractions of Latin-1 that it has
// not inside brackets.
constexpr std::string_view kSpace =
    R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
constexpr std::string_view kNotSpace =
    R"(\x{0}-\x08\x0E-\x1F!-\x{84}\x{86}-\x{9F}\x{A1}-\x{167F}\x{1681}-\x{1FFF}\x{200B}-\x{2027})"
    R"(\x{202A}-\x{202E}\x{2030}-\x{205E}\x{2060}-\x{2FFF}\x{3001}-\x{10FFFF})";
constexpr std::string_view kWordInSet = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
constexpr std::string_view kWord =
    R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";
constexpr std::string_view kHex = "0-9A-Fa-f";

// \p{Lu} and \p{Ll} match either case where case is ignored, unlike \p{Uppercase}.
struct PosixSet {
  std::string_view name, contents;
};
constexpr std::array<PosixSet, 13> kPosixSets = {{{"alnum", R"(\p{Alphabetic}\p{Nd})"},
                                                  {"alpha", R"(\p{Alphabetic})"},
                                                  {"ascii", R"(\x{0}-\x7F)"},
                                                  {"blank", R"(\p{Zs}\t)"},
                                                  {"cntrl", R"([:cntrl:])"},
                                                  {"digit", R"(\p{Nd})"},
                                                  {"lower", R"(\p{Lowercase}\p{Ll})"},
                                                  {"punct", R"(\p{P}\p{S})"},
                                                  {"space", kSpace},
                                                  {"^space", kNotSpace},
                                                  {"upper", R"(\p{Uppercase}\p{Lu})"},
                                                  {"word", kWordInSet},
                                                  {"xdigit", kHex}}};

bool compiles(const std::string& pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                   PCRE2_UTF, &error, &offset, nullptr);
  pcre2_code_free(code);
  return code != nullptr;
}

bool is_script(const std::string& name) {
  return compiles(std::string("\\p{sc:").append(name).append("}"));
}

// Xan, Xwd and so on.
bool is_only_pcre2s(const std::string& name) {
  return name.size() == 3 && (name[0] == 'X' || name[0] == 'x');
}

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where) : in_(pattern), where_(where) {}

  std::string run() {
    groups_.push_back({0, 0});  // the pattern itself
    while (at_ < in_.size()) step();
    if (groups_.size() != 1) refuse("each ( closed");
    close_flags();
    return std::move(out_);
  }

 private:
  static constexpr std::size_t kNoAtom = std::string::npos;

  struct Group {
    std::size_t start;        // in out_
    std::size_t flag_groups;  // groups opened for `(?i)`, to be closed with this one
  };

  [[noreturn]] void refuse(const std::string& expected) const {
    throw FormatError(where_ + ": expected a regular expression with " + expected + ", got \"" +
                      std::string(in_.substr(0, 200)) + "\" (at byte " + std::to_string(at_) + ")");
  }
  char peek(std::size_t ahead = 0) const {
    return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0';
  }
  bool next_is(std::string_view text) const { return in_.substr(at_, text.size()) == text; }

  void atom(std::string_view text) {
    atom_ = out_.size();
    out_ += text;
  }
  void atom_set(std::string_view contents, bool negated = false) {
    atom(negated ? "[^" : "[");
    out_ += contents;
    out_ += ']';
  }
  // Makes what was quantified an atom again.
  void wrap() {
    out_.insert(atom_, "(?:");
    out_ += ')';
    quantified_ = false;
  }

  void step() {
    const char c = in_[at_];
    switch (c) {
      case '\\':
        quantified_ = false;
        return escape();
      case '[':
        quantified_ = false;
        return set();
      case '(':
        quantified_ = false;
        return open_group();
      case ')':
        return close_group();
      case '|':
        ++at_;
        out_ += '|';
        atom_ = kNoAtom;
        quantified_ = false;
        return;
      case '*':
      case '+':
      case '?':
        ++at_;
        return quantify(std::string(1, c), /*suffixes=*/true);
      case '{':
        return brace();
      case '^':
      case '$':
        ++at_;
        atom(std::string_view(&c, 1));
        quantified_ = false;
        return;
      default:
        break;
    }
    const std::size_t length = code_point_at(in_, at_).length;
    atom(in_.substr(at_, length));
    quantified_ = false;
    at_ += length;
  }

  void quantify(const std::string& quantifier, bool suffixes) {
    if (atom_ == kNoAtom) refuse("something before each quantifier");
    if (quantified_) wrap();
    out_ += quantifier;
    quantified_ = true;
    if (suffixes && (peek() == '?' || peek() == '+')) out_ += in_[at_++];
  }

  // {n}, {n,}, {n,m}, {,m}; anything else is a literal brace.
  void brace() {
    const std::size_t end = in_.find('}', at_);
    const std::string_view body =
        end == std::string_view::npos ? "" : in_.substr(at_ + 1, end - at_ - 1);
    const std::size_t comma = body.find(',');
    const std::string low(body.substr(0, comma));
    const std::string high(comma == std::string_view::npos ? "" : body.substr(comma + 1));
    if ((low + high).find_first_not_of("0123456789") != std::string::npos || (low + high).empty() ||
        low.size() > 5 || high.size() > 5) {
      ++at_;
      atom("\\{");
      quantified_ = false;
      return;
    }
    at_ = end + 1;
    const bool fixed = comma == std::string_view::npos;
    std::string quantifier = "{";
    quantifier += low.empty() ? "0" : low;
    if (!fixed) quantifier += ',';
    quantifier += high;
    quantify(quantifier += '}', /*suffixes=*/false);
    // A + that follows repeats the interval; a ? makes it lazy, but repeats a fixed one.
    if (peek() == '?' && !fixed) out_ += in_[at_++];
  }

  void escape() {
    if (at_ + 1 >= in_.size()) refuse("a character after \\");
    const char c = in_[at_ + 1];
    if (c == 'p' || c == 'P') return atom(property());
    if (c == 'u') return atom(unicode_escape());
    if (c == 'x') return atom(hex_escape());
    at_ += 2;
    switch (c) {
      case 's':
        return atom_set(kSpace);
      case 'S':
        return atom_set(kSpace, true);
      case 'w':
        return atom_set(kWord);
      case 'W':
        return atom_set(kWord, true);
      case 'h':
        return atom_set(kHex);
      case 'H':
        return atom_set(kHex, true);
      case 'd':
        return atom("\\p{Nd}");
      case 'D':
        return atom("\\P{Nd}");
      case 'v':
        return atom("\\x0B");
      case 'b':
        return word_boundary("(?:(?<=[W])(?![W])|(?<![W])(?=[W]))");
      case 'B':
        return word_boundary("(?:(?<=[W])(?=[W])|(?<![W])(?![W]))");
      default:
        break;
    }
    if (std::isalpha(static_cast<unsigned char>(c)) != 0 &&
        std::string_view("tnrfaeAzZGKRN").find(c) == std::string_view::npos) {
      at_ -= 2;
      refuse("no escape \\" + std::string(1, c));
    }
    at_ -= 1;  // a literal may be a character of several bytes
    const std::size_t length = code_point_at(in_, at_).length;
    atom("\\");
    out_ += in_.substr(at_, length);
    at_ += length;
  }

  void word_boundary(std::string text) {
    for (std::size_t i = text.find("[W]"); i != std::string::npos; i = text.find("[W]", i)) {
      text.replace(i + 1, 1, kWord);
    }
    atom(text);
  }

  // \p{...}. PCRE2 takes \p{Han} for the characters of Script_Extensions, Oniguruma for those of
  // Script, which is sc: there.
  std::string property() {
    const std::size_t begin = at_;
    if (peek(2) != '{') refuse("{ after \\p");
    const std::size_t end = in_.find('}', at_);
    if (end == std::string_view::npos) refuse("\\p{...} closed");
    const std::size_t name_at = begin + (peek(3) == '^' ? 4 : 3);
    const std::string name(in_.substr(name_at, std::max(end, name_at) - name_at));
    if (name.find_first_of(":=") != std::string::npos || is_only_pcre2s(name)) {
      refuse("names of properties that Oniguruma knows");
    }
    at_ = end + 1;
    std::string property(in_.substr(begin, name_at - begin));
    return property.append(is_script(name) ? "sc:" : "").append(name).append("}");
  }
  std::string unicode_escape() {
    const std::string digits(in_.substr(at_ + 2, 4));
    if (digits.size() != 4 ||
        digits.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) {
      refuse("four hexadecimal digits after \\u");
    }
    at_ += 6;
    std::string escape = "\\x{";
    escape += digits;
    return escape += '}';
  }
  std::string hex_escape() {
    const std::size_t begin = at_;
    at_ += 2;
    if (peek() == '{') {
      const std::size_t end = in_.find('}', at_);
      if (end == std::string_view::npos) refuse("\\x{...} closed");
      at_ = end + 1;
    } else {
      for (int i = 0; i < 2 && std::isxdigit(static_cast<unsigned char>(peek())) != 0; ++i) ++at_;
    }
    return std::string(in_.substr(begin, at_ - begin));
  }

  void set() {
    atom_ = out_.size();
    out_ += '[';
    ++at_;
    if (peek() == '^') out_ += in_[at_++];
    for (bool first = true;; first = false) {
      if (at_ >= in_.size()) refuse("each [ closed");
      const char c = in_[at_];
      if (c == ']' && !first) break;
      if (next_is("[:")) {
        posix_set();
      } else if (c == '[') {
        refuse("no set inside a set");
      } else if (next_is("&&")) {
        refuse("no && inside a set");
      } else if (c == '\\') {
        set_escape();
      } else {
        out_ += c;
        ++at_;
      }
    }
    out_ += ']';
    ++at_;
  }

  void posix_set() {
    const std::size_t end = in_.find(":]", at_ + 2);
    if (end == std::string_view::npos) refuse("[: closed by :]");
    const std::string_view name = in_.substr(at_ + 2, end - at_ - 2);
    const PosixSet* known = std::find_if(kPosixSets.begin(), kPosixSets.end(),
                                         [&](const PosixSet& set) { return set.name == name; });
    if (known == kPosixSets.end()) refuse("no set [:" + std::string(name) + ":]");
    out_ += known->contents;
    at_ = end + 2;
  }

  void set_escape() {
    if (at_ + 1 >= in_.size()) refuse("a character after \\");
    const char c = in_[at_ + 1];
    if (c == 'p' || c == 'P') {
      out_ += property();
      return;
    }
    if (c == 'u') {
      out_ += unicode_escape();
      return;
    }
    if (c == 'x') {
      out_ += hex_escape();
      return;
    }
    std::string_view contents;
    switch (c) {
      case 's':
        contents = kSpace;
        break;
      case 'S':
        contents = kNotSpace;
        break;
      case 'w':
        contents = kWordInSet;
        break;
      case 'h':
        contents = kHex;
        break;
      case 'd':
        contents = "\\p{Nd}";
        break;
      case 'D':
        contents = "\\P{Nd}";
        break;
      case 'v':
        contents = "\\x0B";
        break;
      default:
        if (std::isalpha(static_cast<unsigned char>(c)) != 0 &&
            std::string_view("tnrfaeb").find(c) == std::string_view::npos) {
          refuse("no escape \\" + std::string(1, c) + " inside a set");
        }
        contents = in_.substr(at_, 2);
    }
    out_ += contents;
    at_ += 2;
  }

  void open_group() {
    if (next_is("(*")) refuse("something before each quantifier");
    const std::size_t start = out_.size();
    if (!next_is("(?")) {
      ++at_;
      out_ += '(';
    } else if (next_is("(?#")) {
      const std::size_t end = in_.find(')', at_);
      if (end == std::string_view::npos) refuse("each ( closed");
      at_ = end + 1;
      return;
    } else if (!copy_group_head()) {
      return flags();
    }
    groups_.push_back({start, 0});
    atom_ = kNoAtom;
  }

  bool copy_group_head() {
    for (const std::string_view head : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"}) {
      if (next_is(head)) {
        out_ += head;
        at_ += head.size();
        return true;
      }
    }
    if (!next_is("(?<")) return false;
    const std::size_t end = in_.find('>', at_);
    if (end == std::string_view::npos) refuse("(?<name> closed");
    out_ += in_.substr(at_, end + 1 - at_);
    at_ = end + 1;
    return true;
  }

  // (?im-im) and (?im-im:...). Oniguruma's m is the s of others. Without a colon the flags hold to
  // the end of the group, and an alternation there is part of what they hold for.
  void flags() {
    const std::size_t start = out_.size();
    std::size_t end = at_ + 2;
    out_ += "(?";
    for (; end < in_.size() && std::string_view("im-").find(in_[end]) != std::string_view::npos;
         ++end) {
      out_ += in_[end] == 'm' ? 's' : in_[end];
    }
    const char close = end < in_.size() ? in_[end] : '\0';
    if (close != ':' && close != ')')
      refuse("groups of the kinds (?:, (?=, (?!, (?<, (?>, (?im-im");
    out_ += ':';
    at_ = end + 1;
    atom_ = kNoAtom;
    if (close == ':') {
      groups_.push_back({start, 0});
    } else {
      ++groups_.back().flag_groups;
    }
  }

  void close_flags() { out_.append(groups_.back().flag_groups, ')'); }

  void close_group() {
    if (groups_.size() == 1) refuse("each ) opened");
    close_flags();
    out_ += ')';
    ++at_;
    atom_ = groups_.back().start;
    groups_.pop_back();
    quantified_ = false;
  }

  std::string_view in_;
  const std::string& where_;
  std::size_t at_ = 0;
  std::string out_;
  std::size_t atom_ = kNoAtom;  // where in out_ the last thing that can be quantified starts
  bool quantified_ = false;     // it already is
  std::vector<Group> groups_;   // open ones, outermost first
};

}  // namespace

std::string oniguruma_to_pcre2(std::string_view pattern, const std::string& where) {
  return Translator(pattern, where).run();
}

}  // namespace diffllama
