#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

#include "diffllama/error.h"
#include "generation/constraints/automaton.h"

namespace diffllama {
namespace {

using Expression = Grammar::Expression;
using Kind = Grammar::Kind;

// What holds of expressions, as the least solution of: a sequence has it when all parts have it,
// alternatives when one has it, a repetition when its part has it or none is needed, a reference
// when the rule's definition has it, characters and texts when `of_leaf` says so.
template <class Leaf>
std::vector<bool> solve(const Grammar& grammar, std::size_t count, const Leaf& of_leaf) {
  std::vector<bool> holds(count, false);
  std::vector<std::vector<Expression>> users(count), users_of_rule(grammar.rules());
  std::vector<std::size_t> missing(count, 0);
  std::vector<Expression> work;
  const auto found = [&](Expression expression) {
    if (holds[expression]) return;
    holds[expression] = true;
    work.push_back(expression);
  };
  std::vector<std::vector<Grammar::Rule>> rules_of(count);
  for (Grammar::Rule rule = 0; rule < grammar.rules(); ++rule) {
    rules_of[grammar.definition(rule)].push_back(rule);
  }
  for (Expression expression = 0; expression < count; ++expression) {
    const Grammar::Node& node = grammar.node(expression);
    for (const Expression part : node.parts) users[part].push_back(expression);
    missing[expression] = node.kind == Kind::sequence ? node.parts.size() : 1;
    if (node.kind == Kind::rule) users_of_rule[node.rule].push_back(expression);
    const bool at_once = (node.kind == Kind::sequence && node.parts.empty()) ||
                         (node.kind == Kind::repeat && node.least == 0);
    if (at_once || of_leaf(node)) found(expression);
  }
  while (!work.empty()) {
    const Expression expression = work.back();
    work.pop_back();
    for (const Expression user : users[expression]) {
      if (missing[user] > 0 && --missing[user] == 0) found(user);
    }
    for (const Grammar::Rule rule : rules_of[expression]) {
      for (const Expression user : users_of_rule[rule]) found(user);
    }
  }
  return holds;
}

// Makes the part of every repetition one that matches no empty text: repetitions are counted, and
// empty ones would count for ever.
class EmptyRemover {
 public:
  explicit EmptyRemover(Grammar& grammar)
      : grammar_(grammar), nullable_(solve(grammar, grammar.size(), [](const auto& node) {
          return node.kind == Kind::text && node.text.empty();
        })) {}

  std::vector<bool> run() {
    const std::size_t count = nullable_.size();
    for (Expression expression = 0; expression < count; ++expression) {
      if (grammar_.node(expression).kind != Kind::repeat) continue;
      const Expression part = grammar_.node(expression).parts[0];
      if (!nullable(part)) continue;
      const std::int64_t most = grammar_.node(expression).most;
      grammar_.replace_repeat(expression, not_empty(part), 0, most);
    }
    nullable_.resize(grammar_.size(), false);
    return nullable_;
  }

 private:
  bool nullable(Expression expression) const {
    return expression < nullable_.size() && nullable_[expression];
  }
  // The texts of the expression but the empty one.
  Expression not_empty(Expression expression) {
    if (!nullable(expression)) return expression;
    if (++depth_ > kMostDepth) {
      throw InvalidArgument(grammar_.where() + ": expected optional parts nested at most " +
                            std::to_string(kMostDepth) + " deep, got more");
    }
    const Expression made = make_not_empty(expression);
    --depth_;
    return made;
  }
  Expression make_not_empty(Expression expression) {
    if (const auto known = made_.find(expression); known != made_.end()) return known->second;
    const Grammar::Node node = grammar_.node(expression);  // a copy: the grammar grows
    if (node.kind == Kind::rule) {
      // Noted before its definition is made, which may come back to it.
      const Grammar::Rule rule = grammar_.add_rule(grammar_.rule_name(node.rule));
      const Expression made = made_[expression] = grammar_.reference(rule);
      const auto [entry, added] = rules_.try_emplace(node.rule, made);
      if (!added) {
        grammar_.define(rule, entry->second);
        return made;
      }
      grammar_.define(rule, not_empty(grammar_.definition(node.rule)));
      return made;
    }
    std::vector<Expression> choices;
    switch (node.kind) {
      case Kind::sequence:
        for (std::size_t i = 0; i < node.parts.size(); ++i) {
          std::vector<Expression> rest(node.parts.begin() + static_cast<std::ptrdiff_t>(i),
                                       node.parts.end());
          grammar_.step(rest.size());
          rest[0] = not_empty(rest[0]);
          choices.push_back(grammar_.sequence(std::move(rest)));
          if (!nullable(node.parts[i])) break;
        }
        break;
      case Kind::alternatives:
        for (const Expression part : node.parts) choices.push_back(not_empty(part));
        break;
      case Kind::repeat:
        if (node.most != 0) {
          choices.push_back(grammar_.repeat(not_empty(node.parts[0]), 1, node.most));
        }
        break;
      default:
        break;  // the empty text
    }
    return made_[expression] = grammar_.alternatives(std::move(choices));
  }

  static constexpr int kMostDepth = 1000;
  Grammar& grammar_;
  int depth_ = 0;
  std::vector<bool> nullable_;
  std::unordered_map<Expression, Expression> made_;
  std::unordered_map<Grammar::Rule, Expression> rules_;
};

// Throws for a rule that can begin with itself: its stack would grow without a byte.
void refuse_left_recursion(const Grammar& grammar, const std::vector<bool>& nullable) {
  enum class Mark : std::uint8_t { fresh, open, done };
  std::vector<Mark> marks(grammar.size(), Mark::fresh);
  const auto first_parts = [&](Expression expression) {
    const Grammar::Node& node = grammar.node(expression);
    if (node.kind == Kind::rule) return std::vector<Expression>{grammar.definition(node.rule)};
    if (node.kind != Kind::sequence) return node.parts;
    std::vector<Expression> parts;
    for (const Expression part : node.parts) {
      parts.push_back(part);
      if (!nullable[part]) break;
    }
    return parts;
  };
  struct Open {
    Expression expression;
    std::vector<Expression> parts;
  };
  for (Grammar::Rule rule = 0; rule < grammar.rules(); ++rule) {
    std::vector<Open> stack;
    const auto enter = [&](Expression expression) {
      if (marks[expression] == Mark::done) return;
      if (marks[expression] == Mark::open) {
        throw InvalidArgument(grammar.where() +
                              ": expected rules that do not begin with themselves, got \"" +
                              grammar.rule_name(rule) + "\"");
      }
      marks[expression] = Mark::open;
      stack.push_back({expression, first_parts(expression)});
    };
    enter(grammar.definition(rule));
    while (!stack.empty()) {
      if (stack.back().parts.empty()) {
        marks[stack.back().expression] = Mark::done;
        stack.pop_back();
        continue;
      }
      const Expression part = stack.back().parts.back();
      stack.back().parts.pop_back();
      enter(part);
    }
  }
}

class GraphBuilder {
 public:
  GraphBuilder(Grammar& grammar, Grammar::Rule root) : grammar_(grammar) {
    refuse_left_recursion(grammar, EmptyRemover(grammar).run());
    productive_ = solve(grammar, grammar.size(), [](const Grammar::Node& node) {
      return node.kind == Kind::text || (node.kind == Kind::characters && !node.characters.empty());
    });
    graph_.root = rule_of(grammar.definition(root));
    while (!pending_.empty()) {
      const auto [rule, expression] = pending_.back();
      pending_.pop_back();
      const std::uint32_t end = add_node();
      graph_.nodes[end].ends_rule = true;
      lower(expression, graph_.rule_starts[rule], end);
    }
    mark_ends();
  }
  ByteGraph take() { return std::move(graph_); }

 private:
  std::uint32_t add_node() {
    grammar_.step();
    graph_.nodes.emplace_back();
    return static_cast<std::uint32_t>(graph_.nodes.size() - 1);
  }
  void add_empty(std::uint32_t from, std::uint32_t to) { graph_.nodes[from].empty.push_back(to); }

  // The rule that matches this expression, whatever stands around it.
  std::uint32_t rule_of(Expression expression) {
    const auto [entry, added] =
        rules_.try_emplace(expression, static_cast<std::uint32_t>(graph_.rule_starts.size()));
    if (added) {
      graph_.rule_starts.push_back(add_node());
      pending_.emplace_back(entry->second, expression);
    }
    return entry->second;
  }
  void add_rule_edge(std::uint32_t from, const ByteGraph::RuleEdge& edge) {
    grammar_.step();
    graph_.nodes[from].rules.push_back(static_cast<std::uint32_t>(graph_.rule_edges.size()));
    graph_.rule_edges.push_back(edge);
  }

  void lower(Expression expression, std::uint32_t from, std::uint32_t to) {
    grammar_.step();
    if (!productive_[expression]) return;
    const Grammar::Node& node = grammar_.node(expression);
    switch (node.kind) {
      case Kind::characters:
        lower_characters(node.characters, from, to);
        break;
      case Kind::text:
        for (std::size_t i = 0; i < node.text.size(); ++i) {
          const std::uint32_t next = i + 1 < node.text.size() ? add_node() : to;
          const auto byte = static_cast<std::uint8_t>(node.text[i]);
          graph_.nodes[from].bytes.push_back({byte, byte, next});
          from = next;
        }
        if (node.text.empty()) add_empty(from, to);
        break;
      case Kind::sequence:
        for (std::size_t i = 0; i < node.parts.size(); ++i) {
          const std::uint32_t next = i + 1 < node.parts.size() ? add_node() : to;
          lower(node.parts[i], from, next);
          from = next;
        }
        if (node.parts.empty()) add_empty(from, to);
        break;
      case Kind::alternatives:
        for (const Expression part : node.parts) lower(part, from, to);
        break;
      case Kind::repeat:
        lower_repeat(node, from, to);
        break;
      case Kind::rule:
        add_rule_edge(from, {.rule = rule_of(grammar_.definition(node.rule)), .target = to});
        break;
    }
  }

  void lower_characters(const CodePoints& set, std::uint32_t from, std::uint32_t to) {
    // Sequences that end alike share those nodes.
    std::map<std::string, std::uint32_t> tails;
    const auto node_before = [&](const ByteSequence& sequence, int byte) {
      std::string key;
      for (int i = byte; i < sequence.length; ++i) {
        key +=
            {static_cast<char>(sequence.bytes[i].first), static_cast<char>(sequence.bytes[i].last)};
      }
      if (key.empty()) return std::pair(to, false);
      const auto [entry, added] = tails.try_emplace(key, 0);
      if (added) entry->second = add_node();
      return std::pair(entry->second, added);
    };
    for (const ByteSequence& sequence : utf8_sequences(set)) {
      grammar_.step();
      std::uint32_t node = from;
      bool fresh = true;
      for (int i = 0; i < sequence.length && fresh; ++i) {
        const auto [next, added] = node_before(sequence, i + 1);
        graph_.nodes[node].bytes.push_back({sequence.bytes[i].first, sequence.bytes[i].last, next});
        node = next;
        fresh = added;
      }
    }
  }

  void lower_repeat(const Grammar::Node& repeat, std::uint32_t from, std::uint32_t to) {
    constexpr std::int64_t kMostCopies = 8;
    const Expression part = repeat.parts[0];
    const std::int64_t least = repeat.least, most = repeat.most;
    const bool character = grammar_.node(part).kind == Kind::characters;
    if (!productive_[part] || most == 0) {
      add_empty(from, to);
    } else if (most == Grammar::kUnbounded && least <= 1) {
      const std::uint32_t first = add_node();
      const std::uint32_t last = least == 0 ? first : add_node();
      add_empty(from, first);
      lower(part, first, last);
      if (least == 1) add_empty(last, first);
      add_empty(last, to);
    } else if (most == 1 || (character && most != Grammar::kUnbounded && most <= kMostCopies)) {
      for (std::int64_t i = 0; i < most; ++i) {
        if (i >= least) add_empty(from, to);
        const std::uint32_t next = i + 1 < most ? add_node() : to;
        lower(part, from, next);
        from = next;
      }
    } else {
      const auto count = [](std::int64_t value) {
        return value == Grammar::kUnbounded ? UINT32_MAX : static_cast<std::uint32_t>(value);
      };
      add_rule_edge(from, {.rule = rule_of(part),
                           .target = to,
                           .least = count(least),
                           .most = count(most),
                           .repeats = true});
    }
  }

  // Backwards from the ends along nodes that have one way out, which takes nothing.
  void mark_ends() {
    std::vector<std::vector<std::uint32_t>> sources(graph_.nodes.size());
    std::vector<std::uint32_t> work;
    for (std::uint32_t i = 0; i < graph_.nodes.size(); ++i) {
      const ByteGraph::Node& node = graph_.nodes[i];
      if (!node.bytes.empty() || !node.rules.empty()) continue;
      if (node.ends_rule && node.empty.empty()) work.push_back(i);
      if (!node.ends_rule && node.empty.size() == 1) sources[node.empty[0]].push_back(i);
    }
    while (!work.empty()) {
      const std::uint32_t node = work.back();
      work.pop_back();
      graph_.nodes[node].only_ends = true;
      work.insert(work.end(), sources[node].begin(), sources[node].end());
    }
  }

  Grammar& grammar_;
  std::vector<bool> productive_;
  ByteGraph graph_;
  std::unordered_map<Expression, std::uint32_t> rules_;
  std::vector<std::pair<std::uint32_t, Expression>> pending_;
};

}  // namespace

ByteGraph ByteGraph::compile(Grammar& grammar, Grammar::Rule root) {
  return GraphBuilder(grammar, root).take();
}

}  // namespace diffllama
