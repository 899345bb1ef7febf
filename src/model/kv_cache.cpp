#include "model/kv_cache.h"

#include <cassert>

#include "tensor/half.h"

namespace diffllama {
namespace {

// Where element (depth t, column c) of a panel lies, in elements.
std::size_t panel_index(PanelFormat format, std::int64_t depth, std::int64_t column) {
  if (format == PanelFormat::bfloat16) {
    return static_cast<std::size_t>((depth / 2 * kPanelColumns + column) * 2 + depth % 2);
  }
  return static_cast<std::size_t>(depth * kPanelColumns + column);
}

std::size_t panels_of(std::int64_t columns) {
  return static_cast<std::size_t>((columns + kPanelColumns - 1) / kPanelColumns);
}

void store(std::byte* panel, PanelFormat format, std::int64_t depth, std::int64_t column,
           float value) {
  const std::size_t index = panel_index(format, depth, column);
  if (format == PanelFormat::bfloat16) {
    reinterpret_cast<std::uint16_t*>(panel)[index] = float_to_bfloat16(value);
  } else {
    reinterpret_cast<float*>(panel)[index] = value;
  }
}

}  // namespace

AttentionGeometry AttentionGeometry::of(const ModelConfig& config) {
  const std::int64_t maps = config.model_type == ModelType::diffllama ? 2 : 1;
  return {.maps = maps,
          .groups = config.num_key_value_heads / maps,
          .group_heads = config.num_attention_heads / config.num_key_value_heads,
          .head_dim = config.head_dim,
          .value_columns = maps * config.head_dim};
}

SequenceCache::SequenceCache(const AttentionGeometry& geometry, std::int64_t layers,
                             ProductType type)
    : geometry_(geometry),
      layers_(layers),
      type_(type),
      key_panel_bytes_(panel_bytes(format(), geometry_.head_dim)),
      key_head_bytes_(static_cast<std::size_t>(kBlockKeys / kPanelColumns) * key_panel_bytes_),
      value_panel_bytes_(panel_bytes(format(), kBlockKeys)),
      value_group_bytes_(panels_of(geometry_.value_columns) * value_panel_bytes_),
      layer_bytes_(static_cast<std::size_t>(geometry_.key_heads()) * key_head_bytes_ +
                   static_cast<std::size_t>(geometry_.groups) * value_group_bytes_) {}

void SequenceCache::reserve(std::int64_t count) {
  const std::int64_t blocks = (keys_ + count + kBlockKeys - 1) / kBlockKeys;
  while (static_cast<std::int64_t>(blocks_.size()) < blocks) {
    Buffer<std::byte> block;
    block.reserve_zeroed(layer_bytes_ * static_cast<std::size_t>(layers_));
    blocks_.push_back(std::move(block));
  }
}

std::byte* SequenceCache::layer_data(std::int64_t layer, std::int64_t block) const {
  assert(layer < layers_ && block < static_cast<std::int64_t>(blocks_.size()));
  return blocks_[static_cast<std::size_t>(block)].data() +
         static_cast<std::size_t>(layer) * layer_bytes_;
}

const std::byte* SequenceCache::key_panels(std::int64_t layer, std::int64_t block,
                                           std::int64_t head) const {
  return layer_data(layer, block) + static_cast<std::size_t>(head) * key_head_bytes_;
}

const std::byte* SequenceCache::value_panels(std::int64_t layer, std::int64_t block,
                                             std::int64_t group) const {
  return layer_data(layer, block) +
         static_cast<std::size_t>(geometry_.key_heads()) * key_head_bytes_ +
         static_cast<std::size_t>(group) * value_group_bytes_;
}

void SequenceCache::write(std::int64_t layer, std::int64_t slot, const float* keys,
                          const float* values) {
  const std::int64_t block = slot / kBlockKeys;
  const std::int64_t in_block = slot % kBlockKeys;
  const std::int64_t d = geometry_.head_dim;
  for (std::int64_t head = 0; head < geometry_.key_heads(); ++head) {
    std::byte* panel = const_cast<std::byte*>(key_panels(layer, block, head)) +
                       static_cast<std::size_t>(in_block / kPanelColumns) * key_panel_bytes_;
    for (std::int64_t i = 0; i < d; ++i) {
      store(panel, format(), i, in_block % kPanelColumns, keys[head * d + i]);
    }
  }
  for (std::int64_t group = 0; group < geometry_.groups; ++group) {
    auto* panels = const_cast<std::byte*>(value_panels(layer, block, group));
    for (std::int64_t column = 0; column < geometry_.value_columns; ++column) {
      const std::int64_t head = group + column / d * geometry_.groups;  // v_j, then v_{j + K/2}
      store(panels + static_cast<std::size_t>(column / kPanelColumns) * value_panel_bytes_,
            format(), in_block, column % kPanelColumns, values[head * d + column % d]);
    }
  }
}

}  // namespace diffllama
