#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/buffer.h"
#include "diffllama/config.h"
#include "kernels/panel_product.h"

namespace diffllama {

/// How heads share keys and values in this model. Differential attention: the value of group j is
/// [v_j | v_{j + K/2}] (docs/model.md "One layer" 3 and 4), and map m in {0, 1} of group j reads
/// the keys of KV head j + m K/2. Plain attention: one map, one group a KV head.
struct AttentionGeometry {
  std::int64_t maps;         // softmax maps that make one output head: 2 for DiffLlama, 1 for Llama
  std::int64_t groups;       // K / maps
  std::int64_t group_heads;  // g = H / K: output heads of a group
  std::int64_t head_dim;     // d
  std::int64_t value_columns;  // maps * d

  static AttentionGeometry of(const ModelConfig& config);
  std::int64_t key_heads() const { return groups * maps; }  // K
  std::int64_t output_heads() const { return groups * group_heads; }
  std::int64_t query_heads() const { return output_heads() * maps; }  // H
};

/// Keys and values of one sequence in all layers, in the packed-panel layout (panel_product.h):
/// keys as panels of 32 keys, values as panels of 32 value columns with the keys as reduction.
/// Memory comes in blocks of kBlockKeys keys, so growing copies nothing. Slots past the end are
/// zero.
class SequenceCache {
 public:
  static constexpr std::int64_t kBlockKeys = 256;

  /// float32 products keep float32 keys and values; bfloat16 products keep them rounded to
  /// bfloat16.
  SequenceCache(const AttentionGeometry& geometry, std::int64_t layers, ProductType type);

  /// Keys stored (tokens that later ones may see), and tokens that went through (masked ones
  /// included).
  std::int64_t keys() const { return keys_; }
  std::int64_t length() const { return length_; }
  /// Makes room for `count` more keys; the step that writes them calls advance() when every layer
  /// has.
  void reserve(std::int64_t count);
  void advance(std::int64_t keys, std::int64_t tokens) {
    keys_ += keys;
    length_ += tokens;
  }

  /// Stores one token's rotated keys [K, d] and values [K, d] of `layer` in slot `slot` (<
  /// reserved).
  void write(std::int64_t layer, std::int64_t slot, const float* keys, const float* values);

  /// The panels of one block: 8 panels of 32 keys of KV head `head`, depth d.
  const std::byte* key_panels(std::int64_t layer, std::int64_t block, std::int64_t head) const;
  std::size_t key_panel_stride() const { return key_panel_bytes_; }
  /// ceil(value_columns / 32) panels of group `group`, depth kBlockKeys.
  const std::byte* value_panels(std::int64_t layer, std::int64_t block, std::int64_t group) const;
  std::size_t value_panel_stride() const { return value_panel_bytes_; }

  /// What the keys and values of one token take in all layers.
  std::size_t bytes_per_key() const {
    return layer_bytes_ * static_cast<std::size_t>(layers_) / kBlockKeys;
  }

  ProductType type() const { return type_; }
  PanelFormat format() const {
    return type_ == ProductType::bfloat16 ? PanelFormat::bfloat16 : PanelFormat::float32;
  }

 private:
  std::byte* layer_data(std::int64_t layer, std::int64_t block) const;

  AttentionGeometry geometry_;
  std::int64_t layers_;
  ProductType type_;
  std::size_t key_panel_bytes_, key_head_bytes_, value_panel_bytes_, value_group_bytes_,
      layer_bytes_;
  std::int64_t keys_ = 0;
  std::int64_t length_ = 0;
  std::vector<Buffer<std::byte>>
      blocks_;  // [layers][keys of every head, then values of every group]
};

}  // namespace diffllama
