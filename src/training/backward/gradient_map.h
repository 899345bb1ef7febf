#pragma once

#include <map>
#include <string>

namespace diffllama {

/// Where the gradient of each parameter is added to, by transformers' name, float32 in the
/// parameter's shape. A parameter that is not there is frozen: its gradient is not computed.
class GradientMap {
 public:
  void add(const std::string& name, float* gradient) { gradients_[name] = gradient; }
  /// Null for a frozen parameter.
  float* find(const std::string& name) const {
    const auto found = gradients_.find(name);
    return found == gradients_.end() ? nullptr : found->second;
  }

 private:
  std::map<std::string, float*> gradients_;
};

}  // namespace diffllama
