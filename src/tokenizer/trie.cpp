#include "tokenizer/trie.h"

#include <algorithm>
#include <cstddef>

namespace diffllama {

// The entries [begin, end) that have their first `depth` bytes, those up to `node`, in common.
struct Trie::Part {
  std::uint32_t node;
  std::size_t begin, end, depth;
};

Trie::Trie(std::vector<std::pair<std::string_view, std::int32_t>> entries) {
  std::sort(entries.begin(), entries.end());
  nodes_.resize(257);
  nodes_[kRoot].parent = kRoot;  // no byte leads to it: bases are at least 1
  std::vector<Part> parts = {{kRoot, 0, entries.size(), 0}};
  std::vector<unsigned char> bytes;
  while (!parts.empty()) {
    Part part = parts.back();
    parts.pop_back();
    // The shortest comes first.
    if (part.begin < part.end && entries[part.begin].first.size() == part.depth) {
      if (part.depth > 0) nodes_[part.node].value = entries[part.begin].second;
      ++part.begin;
    }
    const auto byte_of = [&](std::size_t entry) {
      return static_cast<unsigned char>(entries[entry].first[part.depth]);
    };
    bytes.clear();
    for (std::size_t i = part.begin; i < part.end; ++i) {
      if (bytes.empty() || bytes.back() != byte_of(i)) bytes.push_back(byte_of(i));
    }
    const std::uint32_t base = place(bytes);
    nodes_[part.node].base = base;
    for (const unsigned char byte : bytes) nodes_[base + byte].parent = part.node;
    for (std::size_t i = part.begin; i < part.end;) {
      std::size_t end = i + 1;
      while (end < part.end && byte_of(end) == byte_of(i)) ++end;
      parts.push_back({base + byte_of(i), i, end, part.depth + 1});
      i = end;
    }
  }
}

// A base at which the places of all `bytes` are free. Few are tried, so that no set of strings can
// make this slow; then places are left empty.
std::uint32_t Trie::place(const std::vector<unsigned char>& bytes) {
  if (bytes.empty()) return 1;
  const auto is_free = [&](std::size_t at) {
    return at >= nodes_.size() || nodes_[at].parent == kNoNode;
  };
  while (!is_free(first_free_)) ++first_free_;
  constexpr int kTries = 64;
  std::size_t base = first_free_ > bytes[0] ? first_free_ - bytes[0] : 1;
  const auto fits = [&](std::size_t at) {
    return std::all_of(bytes.begin(), bytes.end(),
                       [&](unsigned char b) { return is_free(at + b); });
  };
  int tries = 0;
  while (tries < kTries && !fits(base)) {
    ++base;
    ++tries;
  }
  if (tries == kTries) {
    base = nodes_.size();
    // What was passed over so often will not be filled.
    first_free_ += bytes.size() == 1 ? kTries : 1;
  }
  if (base + 256 > nodes_.size()) nodes_.resize(std::max(base + 256, nodes_.size() * 3 / 2));
  return static_cast<std::uint32_t>(base);
}

std::uint32_t Trie::find(std::string_view text) const {
  std::uint32_t node = kRoot;
  for (const char byte : text) {
    node = next(node, byte);
    if (node == kNoNode) break;
  }
  return node;
}

}  // namespace diffllama
