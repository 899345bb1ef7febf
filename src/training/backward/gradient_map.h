#pragma once

#include <map>
#include <span>
#include <string>

#include "base/parallel.h"

namespace diffllama {

/// Where the gradient of each parameter is added to, by transformers' name, float32 in the
/// parameter's shape. A parameter that is not there is frozen: its gradient is not computed.
class GradientMap {
 public:
  explicit GradientMap(const Parallel& parallel) : parallel_(parallel) {}

  /// What `gradient` holds is added to.
  void add(const std::string& name, std::span<float> gradient) { sums_[name] = {gradient, true}; }
  /// Every gradient counts as zero from here on. Nothing is written: a first product can write its
  /// sum in place of adding to zeros, which takes reading and writing every gradient twice.
  void clear();
  /// Writes the zeros of those to which nothing was added since clear().
  void complete();

  bool contains(const std::string& name) const { return sums_.contains(name); }
  /// Null for a frozen parameter.
  float* find(const std::string& name);
  struct Target {
    float* sum = nullptr;  // null for a frozen parameter
    bool accumulate = true;
  };
  /// For one who adds to every element at once. Without `accumulate`, `sum` holds nothing yet and
  /// must be written.
  Target find_whole(const std::string& name);

 private:
  struct Sum {
    std::span<float> values;
    bool begun = true;
  };
  void begin(Sum& sum);

  const Parallel& parallel_;
  std::map<std::string, Sum> sums_;
};

}  // namespace diffllama
