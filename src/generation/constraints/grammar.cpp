#include "generation/constraints/grammar.h"

#include <utility>

#include "diffllama/error.h"

namespace diffllama {

void Grammar::step() {
  if (++steps_ > limits_.steps) {
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
  return push({.kind = Kind::characters, .characters = std::move(set)});
}
Grammar::Expression Grammar::text(std::string_view text) {
  return push({.kind = Kind::text, .text = std::string(text)});
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
