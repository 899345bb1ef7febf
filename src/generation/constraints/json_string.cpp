#include "generation/constraints/json_string.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "generation/constraints/json_text.h"

namespace diffllama {
namespace {

using Expression = Grammar::Expression;

// An expression without rules as a machine over characters.
class TextMachine {
 public:
  using Places = std::vector<std::uint32_t>;  // ascending

  TextMachine(Grammar& grammar, Expression expression) : grammar_(grammar) {
    const std::uint32_t start = add_node();
    const std::uint32_t end = add_node();
    lower(expression, start, end);
    start_ = closure({start});
    end_ = end;
  }
  const Places& start() const { return start_; }
  bool accepts(const Places& places) const { return std::ranges::binary_search(places, end_); }
  /// Adds where the behaviour of a character may differ from that of the one before it.
  void add_bounds(const Places& places, std::vector<char32_t>& bounds) const {
    for (const std::uint32_t place : places) {
      for (const auto& [set, target] : nodes_[place].edges) {
        for (const auto& [first, last] : set->ranges()) {
          bounds.push_back(first);
          bounds.push_back(last + 1);
        }
      }
    }
  }
  Places next(const Places& places, char32_t c) const {
    grammar_.step(3);
    Places targets;
    for (const std::uint32_t place : places) {
      for (const auto& [set, target] : nodes_[place].edges) {
        if (set->contains(c)) targets.push_back(target);
      }
    }
    return closure(std::move(targets));
  }

 private:
  struct Node {
    std::vector<std::pair<const CodePoints*, std::uint32_t>> edges;
    std::vector<std::uint32_t> empty;
  };

  std::uint32_t add_node() {
    grammar_.step();
    nodes_.emplace_back();
    return static_cast<std::uint32_t>(nodes_.size() - 1);
  }
  void lower(Expression expression, std::uint32_t from, std::uint32_t to) {
    grammar_.step();
    const Grammar::Node& node = grammar_.node(expression);
    switch (node.kind) {
      case Grammar::Kind::characters:
        sets_.push_back(std::make_unique<CodePoints>(node.characters));
        nodes_[from].edges.emplace_back(sets_.back().get(), to);
        break;
      case Grammar::Kind::text: {
        std::string_view rest = node.text;
        while (const auto c = take_code_point(rest)) {
          const std::uint32_t next = rest.empty() ? to : add_node();
          sets_.push_back(std::make_unique<CodePoints>(CodePoints::of(*c, *c)));
          nodes_[from].edges.emplace_back(sets_.back().get(), next);
          from = next;
        }
        if (node.text.empty()) nodes_[from].empty.push_back(to);
        break;
      }
      case Grammar::Kind::sequence:
        for (const Expression part : node.parts) {
          const std::uint32_t next = add_node();
          lower(part, from, next);
          from = next;
        }
        nodes_[from].empty.push_back(to);
        break;
      case Grammar::Kind::alternatives:
        for (const Expression part : node.parts) lower(part, from, to);
        break;
      case Grammar::Kind::repeat:
        lower_repeat(node, from, to);
        break;
      case Grammar::Kind::rule:
        break;
    }
  }
  void lower_repeat(const Grammar::Node& node, std::uint32_t from, std::uint32_t to) {
    for (std::int64_t i = 0; i < std::max(node.least, node.most); ++i) {
      if (i >= node.least) nodes_[from].empty.push_back(to);
      const std::uint32_t next = add_node();
      lower(node.parts[0], from, next);
      from = next;
    }
    if (node.most == Grammar::kUnbounded) {
      const std::uint32_t again = add_node();
      nodes_[from].empty.push_back(again);
      lower(node.parts[0], again, again);
      from = again;
    }
    nodes_[from].empty.push_back(to);
  }
  Places closure(Places places) const {
    std::vector<bool> seen(nodes_.size(), false);
    Places work = std::move(places), all;
    while (!work.empty()) {
      const std::uint32_t place = work.back();
      work.pop_back();
      if (seen[place]) continue;
      seen[place] = true;
      grammar_.step();
      const Node& node = nodes_[place];
      if (!node.edges.empty() || place == end_) all.push_back(place);
      work.insert(work.end(), node.empty.begin(), node.empty.end());
    }
    std::ranges::sort(all);
    return all;
  }

  Grammar& grammar_;
  std::vector<Node> nodes_;
  std::vector<std::unique_ptr<CodePoints>> sets_;
  std::uint32_t end_ = 0;
  Places start_;
};

// All of the texts and the bounds at once: a rule for each combination of places and a count.
class Intersection {
 public:
  Intersection(Grammar& grammar, const StringBounds& bounds) : grammar_(grammar), bounds_(bounds) {
    for (const Expression text : bounds.texts) machines_.emplace_back(grammar, text);
  }

  Expression expression() {
    State start;
    for (const TextMachine& machine : machines_) start.places.push_back(machine.start());
    const Grammar::Rule root = rule_of(std::move(start));
    while (!pending_.empty()) {
      const auto state = pending_.back();
      pending_.pop_back();
      define(state->first, state->second);
    }
    return grammar_.reference(root);
  }

 private:
  struct State {
    std::int64_t count = 0;
    std::vector<TextMachine::Places> places;
    auto operator<=>(const State&) const = default;  // NOLINT(modernize-use-nullptr): clang-tidy 14
  };
  using Rules = std::map<State, Grammar::Rule>;

  Grammar::Rule rule_of(State state) {
    const auto [entry, added] = rules_.try_emplace(std::move(state), 0);
    if (added) {
      entry->second = grammar_.add_rule("string");
      pending_.push_back(entry);
    }
    return entry->second;
  }

  void define(const State& state, Grammar::Rule rule) {
    std::vector<char32_t> starts;
    bool accepts = state.count >= bounds_.least;
    for (std::size_t i = 0; i < machines_.size(); ++i) {
      machines_[i].add_bounds(state.places[i], starts);
      accepts = accepts && machines_[i].accepts(state.places[i]);
    }
    std::ranges::sort(starts);
    starts.erase(std::unique(starts.begin(), starts.end()), starts.end());
    std::map<State, CodePoints> steps;
    const bool full = bounds_.most != Grammar::kUnbounded && state.count >= bounds_.most;
    for (std::size_t i = 0; i < starts.size() && !full; ++i) {
      const char32_t last = i + 1 < starts.size() ? starts[i + 1] - 1 : CodePoints::kLast;
      const CodePoints interval = CodePoints::of(starts[i], last);
      if (interval.empty()) continue;
      if (auto next = after(state, interval.ranges()[0].first)) steps[*next].add(interval);
    }
    std::vector<Expression> choices;
    if (accepts) choices.push_back(grammar_.text("\""));
    for (auto& [next, set] : steps) {
      choices.push_back(
          grammar_.sequence({json_escaped(grammar_, set), grammar_.reference(rule_of(next))}));
    }
    grammar_.define(rule, grammar_.alternatives(std::move(choices)));
  }

  std::optional<State> after(const State& state, char32_t c) {
    State next;
    const bool counts = bounds_.most != Grammar::kUnbounded || state.count < bounds_.least;
    next.count = state.count + (counts ? 1 : 0);
    for (std::size_t i = 0; i < machines_.size(); ++i) {
      next.places.push_back(machines_[i].next(state.places[i], c));
      if (next.places.back().empty()) return std::nullopt;
    }
    return next;
  }

  Grammar& grammar_;
  const StringBounds& bounds_;
  std::vector<TextMachine> machines_;
  Rules rules_;
  std::vector<Rules::iterator> pending_;
};

}  // namespace

Expression json_string_within(Grammar& grammar, const StringBounds& bounds) {
  const bool any_length = bounds.least == 0 && bounds.most == Grammar::kUnbounded;
  if (bounds.texts.empty()) return json_string_of_length(grammar, bounds.least, bounds.most);
  if (bounds.texts.size() == 1 && any_length) return json_string_of(grammar, bounds.texts[0]);
  return grammar.sequence({grammar.text("\""), Intersection(grammar, bounds).expression()});
}

}  // namespace diffllama
