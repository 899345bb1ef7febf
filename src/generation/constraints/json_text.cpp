#include "generation/constraints/json_text.h"

#include <algorithm>
#include <array>
#include <map>
#include <unordered_map>
#include <utility>

#include "base/utf8.h"
#include "generation/constraints/json_number.h"

namespace diffllama {
namespace {

using Expression = Grammar::Expression;

std::string escaped(char32_t c) {
  switch (c) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\b':
      return "\\b";
    case '\f':
      return "\\f";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      break;
  }
  std::string text;
  if (c >= 0x20) {
    append_utf8(text, c);
    return text;
  }
  constexpr std::string_view kDigits = "0123456789abcdef";
  text = "\\u00";
  text += kDigits[c >> 4];
  text += kDigits[c & 0xF];
  return text;
}

// The characters that stand for themselves.
const CodePoints& plain() {
  static const CodePoints set = [] {
    CodePoints others = CodePoints::of(0, 0x1F);
    others.add('"', '"');
    others.add('\\', '\\');
    return others.complement();
  }();
  return set;
}

Expression one_of(Grammar& grammar, std::string_view characters) {
  CodePoints set;
  for (const char c : characters) set.add(static_cast<char32_t>(c), static_cast<char32_t>(c));
  return grammar.characters(std::move(set));
}

}  // namespace

std::string json_string(std::string_view text) {
  std::string result = "\"";
  while (!text.empty()) {
    const auto c = take_code_point(text);
    if (!c) break;  // texts come from JSON, which is UTF-8
    result += escaped(*c);
  }
  return result + '"';
}

Expression json_character(Grammar& grammar) {
  constexpr std::string_view kHex = "0123456789abcdefABCDEF";
  const Expression hex = one_of(grammar, kHex);
  const auto unicode = [&](std::vector<Expression> digits) {
    digits.insert(digits.begin(), grammar.text("\\u"));
    while (digits.size() < 5) digits.push_back(hex);
    return grammar.sequence(std::move(digits));
  };
  const Expression d = one_of(grammar, "dD");
  return grammar.alternatives({
      grammar.characters(plain()),
      grammar.sequence({grammar.text("\\"), one_of(grammar, "\"\\/bfnrt")}),
      unicode({one_of(grammar, "0123456789abcefABCEF")}),
      unicode({d, one_of(grammar, "01234567")}),
      // Two escapes for one character past U+FFFF.
      grammar.sequence(
          {unicode({d, one_of(grammar, "89abAB")}), unicode({d, one_of(grammar, "cdefCDEF")})}),
  });
}

Expression json_string_of_length(Grammar& grammar, std::int64_t least, std::int64_t most) {
  return grammar.sequence({grammar.text("\""), grammar.repeat(json_character(grammar), least, most),
                           grammar.text("\"")});
}

Expression json_escaped(Grammar& grammar, const CodePoints& set) {
  std::vector<Expression> choices = {grammar.characters(set.intersection(plain()))};
  static const CodePoints not_plain = plain().complement();
  const CodePoints others = set.intersection(not_plain);
  for (const auto& [first, last] : others.ranges()) {
    for (char32_t c = first; c <= last; ++c) choices.push_back(grammar.text(escaped(c)));
  }
  return grammar.alternatives(std::move(choices));
}

namespace {

class Escaper {
 public:
  explicit Escaper(Grammar& grammar) : grammar_(grammar) {}

  Expression of(Expression expression) {
    if (const auto known = made_.find(expression); known != made_.end()) return known->second;
    const Grammar::Node node = grammar_.node(expression);  // a copy: the grammar grows
    Expression made = expression;
    std::vector<Expression> parts;
    for (const Expression part : node.parts) parts.push_back(of(part));
    switch (node.kind) {
      case Grammar::Kind::characters:
        made = json_escaped(grammar_, node.characters);
        break;
      case Grammar::Kind::text: {
        const std::string quoted = json_string(node.text);
        made = grammar_.text(std::string_view(quoted).substr(1, quoted.size() - 2));
        break;
      }
      case Grammar::Kind::sequence:
        made = grammar_.sequence(std::move(parts));
        break;
      case Grammar::Kind::alternatives:
        made = grammar_.alternatives(std::move(parts));
        break;
      case Grammar::Kind::repeat:
        made = grammar_.repeat(parts[0], node.least, node.most);
        break;
      case Grammar::Kind::rule:
        break;
    }
    return made_[expression] = made;
  }

 private:
  Grammar& grammar_;
  std::unordered_map<Expression, Expression> made_;
};

}  // namespace

Expression json_string_of(Grammar& grammar, Expression text) {
  return grammar.sequence({grammar.text("\""), Escaper(grammar).of(text), grammar.text("\"")});
}

Expression json_string_but(Grammar& grammar, const std::vector<std::string>& texts) {
  // A tree of the texts' characters; children come after their parents.
  struct Node {
    std::map<char32_t, std::size_t> children;
    bool ends = false;
  };
  std::vector<Node> nodes(1);
  for (std::string_view text : texts) {
    std::size_t node = 0;
    while (!text.empty()) {
      const auto c = take_code_point(text);
      if (!c) break;
      const auto [child, added] = nodes[node].children.try_emplace(*c, nodes.size());
      node = child->second;  // before the vector may move
      if (added) nodes.emplace_back();
      grammar.step();
    }
    nodes[node].ends = true;
  }
  const Expression rest = grammar.repeat(grammar.characters(plain()), 0, Grammar::kUnbounded);
  std::vector<Expression> made(nodes.size());
  for (std::size_t i = nodes.size(); i-- > 0;) {
    CodePoints others = plain();
    std::vector<Expression> choices;
    for (const auto& [c, child] : nodes[i].children) {
      others = others.intersection(CodePoints::of(c, c).complement());
      if (!plain().contains(c)) continue;
      choices.push_back(grammar.sequence({grammar.characters(CodePoints::of(c, c)), made[child]}));
    }
    choices.push_back(grammar.sequence({grammar.characters(others), rest}));
    if (!nodes[i].ends) choices.push_back(grammar.text(""));
    const Grammar::Rule rule = grammar.add_rule("another key");
    grammar.define(rule, grammar.alternatives(std::move(choices)));
    made[i] = grammar.reference(rule);
  }
  return grammar.sequence({grammar.text("\""), made[0], grammar.text("\"")});
}

Expression json_comma(Grammar& grammar) {
  return grammar.sequence({grammar.text(","), grammar.optional(grammar.text(" "))});
}
Expression json_colon(Grammar& grammar) {
  return grammar.sequence({grammar.text(":"), grammar.optional(grammar.text(" "))});
}

Grammar::Rule json_value(Grammar& grammar) {
  const Grammar::Rule rule = grammar.add_rule("any value");
  const Expression value = grammar.reference(rule);
  const Expression string = json_string_of_length(grammar, 0, Grammar::kUnbounded);
  const Expression pair = grammar.sequence({string, json_colon(grammar), value});
  const auto list = [&](const char* open, Expression item, const char* close) {
    const Expression more =
        grammar.repeat(grammar.sequence({json_comma(grammar), item}), 0, Grammar::kUnbounded);
    return grammar.sequence({grammar.text(open), grammar.optional(grammar.sequence({item, more})),
                             grammar.text(close)});
  };
  grammar.define(rule, grammar.alternatives({grammar.text("null"), grammar.text("true"),
                                             grammar.text("false"), json_number(grammar, {}),
                                             string, list("[", value, "]"), list("{", pair, "}")}));
  return rule;
}

}  // namespace diffllama
