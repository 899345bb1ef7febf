#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace diffllama {

/// Finds which of many strings a text begins with, one array look-up a byte: a double array (Aoe
/// 1989).
class Trie {
 public:
  static constexpr std::uint32_t kRoot = 0;
  static constexpr std::uint32_t kNoNode = UINT32_MAX;
  static constexpr std::int32_t kNoValue = -1;

  /// The strings differ; those that are empty are never found. Values are not negative.
  explicit Trie(std::vector<std::pair<std::string_view, std::int32_t>> entries);

  /// The node that `byte` leads to, or kNoNode.
  std::uint32_t next(std::uint32_t node, char byte) const {
    const std::uint32_t child = nodes_[node].base + static_cast<unsigned char>(byte);
    return nodes_[child].parent == node ? child : kNoNode;
  }
  /// The value of the string that ends at a node, or kNoValue.
  std::int32_t value(std::uint32_t node) const { return nodes_[node].value; }
  /// The node of `text`, or kNoNode.
  std::uint32_t find(std::string_view text) const;

 private:
  struct Node {
    std::uint32_t base = 0;  // where its children's places start
    std::uint32_t parent = kNoNode;
    std::int32_t value = kNoValue;
  };
  struct Part;
  std::uint32_t place(const std::vector<unsigned char>& bytes);

  std::vector<Node> nodes_;  // always 256 more than a base
  std::uint32_t first_free_ = 1;
};

}  // namespace diffllama
