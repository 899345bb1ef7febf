#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "kernels/matmul.h"

namespace diffllama {

// The two limits that a model's speed is set beside. Each measurement takes some milliseconds and
// is the best of three rounds of all threads together.

/// How fast memory that no cache holds is read.
class ReadBandwidth {
 public:
  /// bytes: more than the caches hold.
  ReadBandwidth(std::size_t bytes, const Parallel& parallel);
  /// Bytes per second.
  double measure();

 private:
  const Parallel& parallel_;
  std::int64_t pieces_;
  std::shared_ptr<std::byte> data_;
  std::vector<std::uint64_t> sums_;  // kept, so that no reading can be left out
};

/// How fast products are whose operands the second-level cache holds.
class ProductPeak {
 public:
  /// Panels of `format`, multiplied in `compute` where they are not quantised.
  ProductPeak(PanelFormat format, ProductType compute, const Parallel& parallel);
  /// Operations per second, two for each multiplication and addition.
  double measure();

 private:
  const Parallel& parallel_;
  PackedMatrix weights_;
  Buffer<float> x_, y_;
  ActivationRows rows_;
};

}  // namespace diffllama
