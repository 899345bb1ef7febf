#include "generation/constraints/compiled_constraint.h"

#include <algorithm>
#include <utility>

#include "diffllama/error.h"
#include "generation/constraints/gbnf.h"
#include "generation/constraints/json_schema.h"
#include "generation/constraints/regex.h"

namespace diffllama {
namespace {

template <class Parse>
std::shared_ptr<const Constraint> compile(const char* where, TokenBytes bytes,
                                          const ConstraintLimits& limits, const Parse& parse) {
  try {
    Grammar grammar(where, limits);
    const Grammar::Rule root = parse(grammar);
    return std::make_shared<const Constraint>(std::make_unique<Constraint::Impl>(
        ByteGraph::compile(grammar, root), where, limits, std::move(bytes)));
  } catch (const InvalidArgument&) {
    throw;
  } catch (const Error& error) {  // what following alone bounds, at the beginning
    throw InvalidArgument(error.what());
  }
}

}  // namespace

std::shared_ptr<const Constraint> compile_json_schema(std::string_view schema, TokenBytes bytes,
                                                      const ConstraintLimits& limits) {
  return compile("json_schema", std::move(bytes), limits,
                 [&](Grammar& grammar) { return parse_json_schema(grammar, schema); });
}

std::shared_ptr<const Constraint> compile_regex(std::string_view regex, TokenBytes bytes,
                                                const ConstraintLimits& limits) {
  return compile("regex", std::move(bytes), limits, [&](Grammar& grammar) {
    const Grammar::Rule root = grammar.add_rule("root");
    grammar.define(root, parse_regex(grammar, regex, false));
    return root;
  });
}

std::shared_ptr<const Constraint> compile_grammar(std::string_view grammar_text, TokenBytes bytes,
                                                  const ConstraintLimits& limits) {
  return compile("grammar", std::move(bytes), limits,
                 [&](Grammar& grammar) { return parse_gbnf(grammar, grammar_text); });
}

Constraint::Impl::Impl(ByteGraph compiled, std::string place, const ConstraintLimits& most,
                       TokenBytes token_bytes)
    : graph(std::move(compiled)),
      where(std::move(place)),
      limits(most),
      bytes(std::move(token_bytes)),
      trie(bytes.tokens),
      first_trie(bytes.first_tokens),
      automaton(graph, where, limits.memory) {
  if (!automaton.accepts(automaton.start()) && !automaton.goes_on(automaton.start())) {
    throw InvalidArgument(where +
                          ": expected something that a text can satisfy, got what none can");
  }
}

Automaton::State Constraint::Impl::after(Automaton::State state, std::int64_t id,
                                         bool first) const {
  const auto& tokens = first && !bytes.first_tokens.empty() ? bytes.first_tokens : bytes.tokens;
  if (id < 0 || id >= static_cast<std::int64_t>(tokens.size())) return Automaton::kDead;
  const std::string& token = tokens[static_cast<std::size_t>(id)];
  if (token.empty()) return Automaton::kDead;
  for (const char c : token) {
    if (state == Automaton::kDead) return state;
    state = automaton.next(state, static_cast<std::uint8_t>(c));
  }
  return state;
}

std::span<const std::uint64_t> Constraint::Impl::mask(Automaton::State state, bool first) const {
  const bool other = first && !bytes.first_tokens.empty();
  const TokenTrie& tokens = other ? first_trie : trie;
  const Automaton::State same = automaton.cut(state, tokens.longest());
  const auto [entry, added] = masks.try_emplace(std::uint64_t{same} << 1 | (other ? 1 : 0));
  if (added) {
    mask_bytes += tokens.words() * sizeof(std::uint64_t) + 64;
    if (mask_bytes > limits.memory && masks.size() > 1) {
      masks.clear();  // they can be made again
      mask_bytes = 0;
      return mask(state, first);
    }
    entry->second.resize(tokens.words());
    tokens.mask(automaton, same, entry->second);
  }
  return entry->second;
}

Constraint::Constraint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Constraint::~Constraint() = default;

Constraint::Next Constraint::next(std::span<const std::int64_t> ids) const {
  const std::scoped_lock lock(impl_->mutex);
  Automaton::State state = impl_->automaton.start();
  for (std::size_t i = 0; i < ids.size() && state != Automaton::kDead; ++i) {
    state = impl_->after(state, ids[i], i == 0);
  }
  Next result;
  if (state == Automaton::kDead) {
    result.allowed.resize(impl_->trie.words());
    return result;
  }
  const auto allowed = impl_->mask(state, ids.empty());
  result.allowed.assign(allowed.begin(), allowed.end());
  result.complete = impl_->automaton.accepts(state);
  return result;
}

bool Constraint::accepts(std::string_view text) const {
  const std::scoped_lock lock(impl_->mutex);
  Automaton::State state = impl_->automaton.start();
  for (const char c : text) {
    state = impl_->automaton.next(state, static_cast<std::uint8_t>(c));
    if (state == Automaton::kDead) return false;
  }
  return impl_->automaton.accepts(state);
}

ConstraintCursor::ConstraintCursor(std::shared_ptr<const Constraint> constraint)
    : constraint_(std::move(constraint)) {
  states_.push_back(constraint_->impl().automaton.start());
}

void ConstraintCursor::follow(std::span<const std::int64_t> ids) {
  const Constraint::Impl& impl = constraint_->impl();
  const std::scoped_lock lock(impl.mutex);
  const auto same = static_cast<std::size_t>(std::ranges::mismatch(ids_, ids).in1 - ids_.begin());
  ids_.resize(same);
  states_.resize(same + 1);
  for (std::size_t i = same; i < ids.size(); ++i) {
    const Automaton::State state = states_.back();
    states_.push_back(state == Automaton::kDead ? state : impl.after(state, ids[i], i == 0));
    ids_.push_back(ids[i]);
  }
}

bool ConstraintCursor::complete() const {
  const Constraint::Impl& impl = constraint_->impl();
  const std::scoped_lock lock(impl.mutex);
  return !broken() && impl.automaton.accepts(states_.back());
}

void ConstraintCursor::allowed(std::vector<std::uint64_t>& mask) const {
  const Constraint::Impl& impl = constraint_->impl();
  const std::scoped_lock lock(impl.mutex);
  if (broken()) {
    mask.assign(impl.trie.words(), 0);
    return;
  }
  const auto known = impl.mask(states_.back(), ids_.empty());
  mask.assign(known.begin(), known.end());
}

}  // namespace diffllama
