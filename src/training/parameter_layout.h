#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "diffllama/config.h"
#include "diffllama/tensor.h"

namespace diffllama {

/// Where a parameter lies in the flat arrays.
struct ParameterSlot {
  std::string name;  // transformers', or PEFT's of an adapter
  Shape shape;
  std::int64_t offset = 0;  // of the first element, a multiple of 16
  std::int64_t size = 0;    // elements, without padding
  bool decay = true;        // weight decay applies: false for norms, biases and lambda vectors
};

/// What all flat float32 arrays of training share (values, gradients, moments): parameters one
/// after the other, each from a multiple of 16 elements on, zeros between. An array is therefore
/// one range that can be cut anywhere into shards.
class ParameterLayout {
 public:
  ParameterLayout() = default;
  /// Every parameter of a model, in the order of tensor_specs(config); a tied lm_head is none of
  /// its own.
  explicit ParameterLayout(const ModelConfig& config);
  /// These, in this order; only names and shapes matter. Throws InvalidArgument for a name that
  /// comes twice, and for sizes that pass 2^63-1.
  explicit ParameterLayout(const std::vector<TensorSpec>& specs);

  /// Elements of a flat array, padding included.
  std::int64_t size() const { return size_; }
  /// By rising offset.
  const std::vector<ParameterSlot>& slots() const { return slots_; }
  /// Null where no parameter has this name. Valid as long as the layout is.
  const ParameterSlot* find(const std::string& name) const;

 private:
  std::vector<ParameterSlot> slots_;
  std::map<std::string, std::size_t> places_;
  std::int64_t size_ = 0;
};

}  // namespace diffllama
