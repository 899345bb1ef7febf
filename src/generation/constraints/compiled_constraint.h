#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "diffllama/constraint.h"
#include "generation/constraints/automaton.h"
#include "generation/constraints/token_trie.h"

namespace diffllama {

/// The bytes of every token of a vocabulary.
struct TokenBytes {
  std::vector<std::string> tokens;  // by id; empty: no text
  /// What a token is where it begins a text; empty: the same.
  std::vector<std::string> first_tokens;
};

/// A compiled grammar over a vocabulary: masks, kept for the states that were seen.
struct [[gnu::visibility("hidden")]] Constraint::Impl {
  /// The root must be able to match something. Throws InvalidArgument where it cannot.
  Impl(ByteGraph compiled, std::string place, const ConstraintLimits& most, TokenBytes token_bytes);

  /// The state after one token more, kDead where it is not allowed. Ids outside the vocabulary and
  /// tokens without text are not.
  Automaton::State after(Automaton::State state, std::int64_t id, bool first) const;
  /// A bit for each token that may follow; valid until the next call.
  std::span<const std::uint64_t> mask(Automaton::State state, bool first) const;

  ByteGraph graph;
  std::string where;
  ConstraintLimits limits;
  TokenBytes bytes;
  TokenTrie trie, first_trie;

  /// Held while any of what follows is used.
  mutable std::mutex mutex;
  mutable Automaton automaton;
  mutable std::unordered_map<std::uint64_t, std::vector<std::uint64_t>> masks;
  mutable std::size_t mask_bytes = 0;
};

/// A constraint for a vocabulary that is given by its bytes: for tests, and for Constraint's own
/// functions.
std::shared_ptr<const Constraint> compile_json_schema(std::string_view schema, TokenBytes bytes,
                                                      const ConstraintLimits& limits);
std::shared_ptr<const Constraint> compile_regex(std::string_view regex, TokenBytes bytes,
                                                const ConstraintLimits& limits);
std::shared_ptr<const Constraint> compile_grammar(std::string_view grammar, TokenBytes bytes,
                                                  const ConstraintLimits& limits);

/// Where one sequence is in a constraint. It goes along with the sequence's tokens, back too.
class ConstraintCursor {
 public:
  explicit ConstraintCursor(std::shared_ptr<const Constraint> constraint);

  /// Goes to the place after `ids`, a sequence's new tokens, from where it was.
  void follow(std::span<const std::int64_t> ids);
  /// Whether the ids so far break the constraint.
  bool broken() const { return states_.back() == Automaton::kDead; }
  bool complete() const;
  /// Fills `mask` with a bit for each token that may follow.
  void allowed(std::vector<std::uint64_t>& mask) const;

 private:
  std::shared_ptr<const Constraint> constraint_;
  std::vector<std::int64_t> ids_;
  std::vector<Automaton::State> states_;  // before each id and after the last
};

}  // namespace diffllama
