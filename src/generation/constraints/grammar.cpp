#include "generation/constraints/grammar.h"

#include <algorithm>
#include <utility>

#include "diffllama/error.h"

namespace diffllama {

void Grammar::step(std::size_t count) {
  steps_ += count;
  if (steps_ > limits_.steps) {
    throw InvalidArgument(where_ + ": expected to compile in " + std::to_string(limits_.steps) +
                          " steps, got more");
  }
}

Grammar::Expression Grammar::push(Node node) {
  step();
  nodes_.push_back(std::move(node));
  return static_cast<Expression>(nodes_.size() - 1);
}

Grammar::Expression Grammar::characters(CodePoints set) {
  step(set.ranges().size() / 8);
  return push({.kind = Kind::characters, .characters = std::move(set)});
}
Grammar::Expression Grammar::text(std::string_view text) {
  step(text.size() / 16);
  return push({.kind = Kind::text, .text = std::string(text)});
}

Grammar::Expression Grammar::one_of(std::vector<std::string> texts) {
  std::ranges::sort(texts);
  texts.erase(std::unique(texts.begin(), texts.end()), texts.end());
  return texts.empty() ? alternatives({}) : one_of(texts, 0, 0);
}

// Sorted texts that are alike up to `from`.
Grammar::Expression Grammar::one_of(std::span<const std::string> texts, std::size_t from,
                                    int depth) {
  constexpr int kMostDepth = 64;  // then a rule: long chains must not be a deep expression
  const std::string_view first = texts.front(), last = texts.back();
  const auto same =
      static_cast<std::size_t>(std::ranges::mismatch(first, last).in1 - first.begin());
  const Expression begin = text(first.substr(from, same - from));
  if (texts.size() == 1) return begin;
  std::vector<Expression> choices;
  if (first.size() == same) {
    choices.push_back(text(""));
    texts = texts.subspan(1);
  }
  while (!texts.empty()) {
    const char byte = texts.front()[same];
    const auto end = std::ranges::find_if(texts, [&](const auto& t) { return t[same] != byte; });
    const auto count = static_cast<std::size_t>(end - texts.begin());
    step(count / 16);
    choices.push_back(one_of(texts.first(count), same, (depth + 1) % kMostDepth));
    texts = texts.subspan(count);
  }
  const Expression whole = sequence({begin, alternatives(std::move(choices))});
  if (depth + 1 < kMostDepth) return whole;
  const Rule rule = add_rule("texts");
  define(rule, whole);
  return reference(rule);
}
Grammar::Expression Grammar::sequence(std::vector<Expression> parts) {
  if (parts.size() == 1) return parts.front();
  return push({.kind = Kind::sequence, .parts = std::move(parts)});
}
Grammar::Expression Grammar::alternatives(std::vector<Expression> parts) {
  if (parts.size() == 1) return parts.front();
  return push({.kind = Kind::alternatives, .parts = std::move(parts)});
}
Grammar::Expression Grammar::repeat(Expression part, std::int64_t least, std::int64_t most) {
  return push({.kind = Kind::repeat, .parts = {part}, .least = least, .most = most});
}

void Grammar::replace_repeat(Expression repeat, Expression part, std::int64_t least,
                             std::int64_t most) {
  nodes_[repeat] = {.kind = Kind::repeat, .parts = {part}, .least = least, .most = most};
}

Grammar::Rule Grammar::add_rule(std::string name) {
  step();
  names_.push_back(std::move(name));
  definitions_.push_back(kUndefined);
  return static_cast<Rule>(definitions_.size() - 1);
}
void Grammar::define(Rule rule, Expression expression) { definitions_[rule] = expression; }
Grammar::Expression Grammar::reference(Rule rule) {
  return push({.kind = Kind::rule, .rule = rule});
}

Grammar::Expression Grammar::definition(Rule rule) const {
  if (definitions_[rule] == kUndefined) {
    throw InvalidArgument(where_ + ": expected a definition of the rule \"" + names_[rule] +
                          "\", got none");
  }
  return definitions_[rule];
}

}  // namespace diffllama
