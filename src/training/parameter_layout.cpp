#include "training/parameter_layout.h"

#include <limits>

#include "diffllama/error.h"

namespace diffllama {
namespace {

constexpr std::int64_t kAlignment = 16;  // elements: a cache line, and a whole number of vectors

// Vectors, which are norms, biases and lambdas, are steered by the loss alone.
bool decays(const TensorSpec& spec) { return spec.shape.size() > 1; }

std::vector<TensorSpec> stored_specs(const ModelConfig& config) {
  std::vector<TensorSpec> specs = tensor_specs(config);
  std::erase_if(specs, [](const TensorSpec& spec) { return !spec.required; });
  return specs;
}

}  // namespace

ParameterLayout::ParameterLayout(const ModelConfig& config)
    : ParameterLayout(stored_specs(config)) {}

ParameterLayout::ParameterLayout(const std::vector<TensorSpec>& specs) {
  for (const TensorSpec& spec : specs) {
    const std::string& name = spec.name;
    if (!places_.emplace(name, slots_.size()).second) {
      throw InvalidArgument("[parameter_layout] expected each name once, got " + name + " twice");
    }
    const std::int64_t size = element_count(spec.shape);
    if (size > std::numeric_limits<std::int64_t>::max() - kAlignment - size_) {
      throw InvalidArgument("[parameter_layout] expected at most 2^63-1 elements, got more with " +
                            name);
    }
    slots_.push_back({name, spec.shape, size_, size, decays(spec)});
    size_ += (size + kAlignment - 1) / kAlignment * kAlignment;
  }
}

const ParameterSlot* ParameterLayout::find(const std::string& name) const {
  const auto found = places_.find(name);
  return found == places_.end() ? nullptr : &slots_[found->second];
}

}  // namespace diffllama
