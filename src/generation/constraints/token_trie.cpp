#include "generation/constraints/token_trie.h"

#include <algorithm>
#include <numeric>

namespace diffllama {
namespace {

// Longer tokens exist in no vocabulary that could be read; they are never allowed.
constexpr std::size_t kLongest = 60000;

}  // namespace

TokenTrie::TokenTrie(std::span<const std::string> tokens) : words_((tokens.size() + 63) / 64) {
  std::vector<std::uint32_t> order(tokens.size());
  std::iota(order.begin(), order.end(), 0);
  std::erase_if(
      order, [&](std::uint32_t id) { return tokens[id].empty() || tokens[id].size() > kLongest; });
  std::ranges::sort(order, [&](std::uint32_t a, std::uint32_t b) {
    return tokens[a] != tokens[b] ? tokens[a] < tokens[b] : a < b;
  });
  std::vector<std::uint32_t> path;  // the nodes of the token before
  std::string_view before;
  const auto close = [&](std::size_t depth) {
    for (; path.size() > depth; path.pop_back()) {
      nodes_[path.back()].next = static_cast<std::uint32_t>(nodes_.size());
    }
  };
  for (const std::uint32_t id : order) {
    const std::string_view token = tokens[id];
    const auto [end, unused] = std::ranges::mismatch(token, before);
    close(static_cast<std::size_t>(end - token.begin()));
    while (path.size() < token.size()) {
      path.push_back(static_cast<std::uint32_t>(nodes_.size()));
      nodes_.push_back({.first_token = static_cast<std::uint32_t>(tokens_.size()),
                        .depth = static_cast<std::uint16_t>(path.size()),
                        .byte = static_cast<std::uint8_t>(token[path.size() - 1])});
    }
    tokens_.push_back(id);
    longest_ = std::max(longest_, static_cast<std::uint32_t>(token.size()));
    before = token;
  }
  close(0);
  nodes_.push_back({.first_token = static_cast<std::uint32_t>(tokens_.size())});
  path_.resize(longest_ + 1);
}

void TokenTrie::mask(Automaton& automaton, Automaton::State state,
                     std::span<std::uint64_t> allowed) const {
  std::ranges::fill(allowed, 0);
  path_[0] = state;
  for (std::size_t i = 0; i + 1 < nodes_.size();) {
    const Node& node = nodes_[i];
    const Automaton::State next = automaton.next(path_[node.depth - 1], node.byte);
    if (next == Automaton::kDead) {
      i = node.next;
      continue;
    }
    path_[node.depth] = next;
    for (std::uint32_t token = node.first_token; token < nodes_[i + 1].first_token; ++token) {
      allowed[tokens_[token] / 64] |= std::uint64_t{1} << (tokens_[token] % 64);
    }
    ++i;
  }
}

}  // namespace diffllama
