#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "generation/constraints/automaton.h"

namespace diffllama {

/// The bytes of a vocabulary's tokens as a tree, so that beginnings that tokens share are followed
/// once.
class TokenTrie {
 public:
  /// tokens[id] are the token's bytes; ids of empty ones are never allowed.
  explicit TokenTrie(std::span<const std::string> tokens);

  /// Sets the bit of each token whose bytes the automaton can take from `state` on; others are 0.
  /// `allowed` holds words() words.
  void mask(Automaton& automaton, Automaton::State state, std::span<std::uint64_t> allowed) const;
  std::size_t words() const { return words_; }
  /// Bytes of the longest token.
  std::uint32_t longest() const { return longest_; }

 private:
  // In depth-first order: the children of a node follow it.
  struct Node {
    std::uint32_t next = 0;         // the node after all that begins with this one
    std::uint32_t first_token = 0;  // in tokens_; they end where the next node's begin
    std::uint16_t depth = 0;        // 1 for the first byte
    std::uint8_t byte = 0;
  };

  std::vector<Node> nodes_;  // and one behind the last
  std::vector<std::uint32_t> tokens_;
  std::size_t words_ = 0;
  std::uint32_t longest_ = 0;
  mutable std::vector<Automaton::State> path_;
};

}  // namespace diffllama
