#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "checkpoint/codec/block_quantizer.h"
#include "checkpoint/codec/k_blocks.h"
#include "tensor/half.h"

namespace diffllama {
namespace {

// Sums run in this many lanes, so that the compiler can keep each in a vector: the order is fixed.
constexpr int kLanes = 8;

struct LaneSum {
  float lanes[kLanes] = {};
  float total() const {
    return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) +
           ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
  }
};

float store_half(float value, std::byte* to) {
  const std::uint16_t bits = float_to_float16(value);
  std::memcpy(to, &bits, sizeof bits);
  return float16_to_float(bits);
}

// To the nearest whole number, ties to even; exact for |value| < 2^22, which is all that is left
// after clamping. A NaN (of weights or scales next to overflow) becomes `low`.
float nearest_in(float value, float low, float high) {
  constexpr float kMagic = 12582912.0F;  // 1.5 * 2^23: its last bit is worth 1
  const float raised = value > low ? value : low;
  const float clamped = raised < high ? raised : high;
  return (clamped + kMagic) - kMagic;
}

// A group whose weights stand for scale * quant - minimum, quants 0 to top, minimum >= 0.
class AffineGroup {
 public:
  struct Fit {
    float scale = 0, minimum = 0;
  };
  static constexpr int kSize = 32;

  AffineGroup() = default;
  AffineGroup(const float* weights, int top) : weights_(weights), top_(static_cast<float>(top)) {
    LaneSum squares;
    for (int i = 0; i < kSize; i += kLanes) {
      for (int k = 0; k < kLanes; ++k) squares.lanes[k] += weights[i + k] * weights[i + k];
    }
    const float typical = std::sqrt(squares.total() / kSize);
    for (int i = 0; i < kSize; ++i) importance_[i] = typical + std::abs(weights[i]);
  }

  // Tries steps around the one that spans the range, fits scale and minimum to each one's quants,
  // and keeps the best; then lets quants and fit follow each other.
  Fit search() const {
    const auto [smallest, largest] = std::minmax_element(weights_, weights_ + kSize);
    const float low = std::min(*smallest, 0.0F);
    const float range = *largest - low;
    if (!(range > 0)) return {0, -low};
    Fit best{range / top_, -low};
    float least = error(best);
    const auto consider = [&](const Fit& step) {
      const Fit fit = fitted(step);
      const float found = error(fit);
      const bool better = found < least;
      if (better) {
        least = found;
        best = fit;
      }
      return better;
    };
    for (int tenths = -10; tenths <= 10; ++tenths) {
      consider({range / (top_ + 0.1F * static_cast<float>(tenths)), -low});
    }
    for (int round = 0; round < kRounds && consider(best); ++round) {
    }
    return best;
  }

  // The sum of weighted squared errors with the nearest quants.
  float error(const Fit& fit) const {
    const float factor = fit.scale > 0 ? 1.0F / fit.scale : 0.0F;
    LaneSum sum;
    for (int i = 0; i < kSize; i += kLanes) {
      for (int k = 0; k < kLanes; ++k) {
        const float x = weights_[i + k];
        const float quant = nearest_in((x + fit.minimum) * factor, 0, top_);
        const float difference = fit.scale * quant - fit.minimum - x;
        sum.lanes[k] += importance_[i + k] * difference * difference;
      }
    }
    return sum.total();
  }

  int quant(const Fit& fit, int i) const {
    const float factor = fit.scale > 0 ? 1.0F / fit.scale : 0.0F;
    return static_cast<int>(nearest_in((weights_[i] + fit.minimum) * factor, 0, top_));
  }

 private:
  static constexpr int kRounds = 4;

  // Least squares for the quants that `step` gives; `step` itself where they are all alike.
  Fit fitted(const Fit& step) const {
    const float factor = 1.0F / step.scale;
    LaneSum w, x, q, qq, xq;
    for (int i = 0; i < kSize; i += kLanes) {
      for (int k = 0; k < kLanes; ++k) {
        const float weight = importance_[i + k];
        const float value = weights_[i + k];
        const float quant = nearest_in((value + step.minimum) * factor, 0, top_);
        w.lanes[k] += weight;
        x.lanes[k] += weight * value;
        q.lanes[k] += weight * quant;
        qq.lanes[k] += weight * quant * quant;
        xq.lanes[k] += weight * value * quant;
      }
    }
    const float determinant = w.total() * qq.total() - q.total() * q.total();
    if (!(determinant > 0)) return step;
    const Fit fit{(w.total() * xq.total() - x.total() * q.total()) / determinant,
                  (q.total() * xq.total() - qq.total() * x.total()) / determinant};
    if (fit.minimum >= 0) return fit;
    return {xq.total() / qq.total(), 0};
  }

  const float* weights_ = nullptr;
  float importance_[kSize] = {};
  float top_ = 0;
};

constexpr int kAffineGroups = kSuperBlock / AffineGroup::kSize;

struct AffineBlock {
  AffineGroup groups[kAffineGroups];
  AffineGroup::Fit fits[kAffineGroups];  // as the block will be read
};

int clamped_six_bits(float value) { return static_cast<int>(nearest_in(value, 0, 63)); }

// Rounding a group's scale and minimum apart is not the best for both: the neighbours are tried.
GroupScale round_fit(const AffineGroup& group, const AffineGroup::Fit& fit, float d, float dmin) {
  const int scale = d > 0 ? clamped_six_bits(fit.scale / d) : 0;
  const int minimum = dmin > 0 ? clamped_six_bits(fit.minimum / dmin) : 0;
  GroupScale best{scale, minimum};
  float least = INFINITY;
  for (int s = std::max(scale - 1, 0); s <= std::min(scale + 1, 63); ++s) {
    for (int m = std::max(minimum - 1, 0); m <= std::min(minimum + 1, 63); ++m) {
      const float found = group.error({d * static_cast<float>(s), dmin * static_cast<float>(m)});
      if (found < least) {
        least = found;
        best = {s, m};
      }
    }
  }
  return best;
}

// Fills the first 16 bytes: d, dmin and the packed scales.
AffineBlock quantize_scales(const float* weights, int top, std::byte* block) {
  AffineBlock result;
  float scale = 0;
  float minimum = 0;
  for (int g = 0; g < kAffineGroups; ++g) {
    result.groups[g] = AffineGroup(weights + std::ptrdiff_t{g} * AffineGroup::kSize, top);
    result.fits[g] = result.groups[g].search();
    scale = std::max(scale, result.fits[g].scale);
    minimum = std::max(minimum, result.fits[g].minimum);
  }
  const float d = store_half(scale / 63.0F, block);
  const float dmin = store_half(minimum / 63.0F, block + 2);
  std::memset(block + 4, 0, 12);
  for (int g = 0; g < kAffineGroups; ++g) {
    const GroupScale rounded = round_fit(result.groups[g], result.fits[g], d, dmin);
    set_group_scale(block + 4, g, rounded);
    result.fits[g] = {d * static_cast<float>(rounded.scale),
                      dmin * static_cast<float>(rounded.minimum)};
  }
  return result;
}

// Low halves: groups 2p and 2p + 1 share 32 bytes.
void store_low_halves(const AffineBlock& parts, std::byte* to) {
  for (int g = 0; g < kAffineGroups; g += 2) {
    for (int i = 0; i < AffineGroup::kSize; ++i) {
      const int low = parts.groups[g].quant(parts.fits[g], i) & 15;
      const int high = parts.groups[g + 1].quant(parts.fits[g + 1], i) & 15;
      to[g / 2 * 32 + i] = static_cast<std::byte>(low | high << 4);
    }
  }
}

// A group whose weights stand for scale * quant, quants -32 to 31, either sign of scale.
class SymmetricGroup {
 public:
  static constexpr int kSize = 16;

  explicit SymmetricGroup(const float* weights) : weights_(weights) {}

  // As AffineGroup::search; the largest weight is at -32 or thereabouts.
  float search() const {
    float largest = 0;
    for (int i = 0; i < kSize; ++i) {
      if (std::abs(weights_[i]) > std::abs(largest)) largest = weights_[i];
    }
    if (largest == 0) return 0;
    float best = largest / -32.0F;
    float least = error(best);
    const auto consider = [&](float step) {
      const float scale = fitted(step);
      const float found = error(scale);
      const bool better = found < least;
      if (better) {
        least = found;
        best = scale;
      }
      return better;
    };
    for (int tenths = -10; tenths <= 10; ++tenths) {
      consider(largest / -(32.0F + 0.1F * static_cast<float>(tenths)));
    }
    for (int round = 0; round < kRounds && consider(best); ++round) {
    }
    return best;
  }

  float error(float scale) const {
    const float factor = scale != 0 ? 1.0F / scale : 0.0F;
    LaneSum sum;
    for (int i = 0; i < kSize; i += kLanes) {
      for (int k = 0; k < kLanes; ++k) {
        const float x = weights_[i + k];
        const float difference = scale * nearest_in(x * factor, -32, 31) - x;
        sum.lanes[k] += x * x * difference * difference;
      }
    }
    return sum.total();
  }

  int quant(float scale, int i) const {
    const float factor = scale != 0 ? 1.0F / scale : 0.0F;
    return static_cast<int>(nearest_in(weights_[i] * factor, -32, 31));
  }

 private:
  static constexpr int kRounds = 4;

  float fitted(float step) const {
    const float factor = 1.0F / step;
    LaneSum qq, xq;
    for (int i = 0; i < kSize; i += kLanes) {
      for (int k = 0; k < kLanes; ++k) {
        const float x = weights_[i + k];
        const float quant = nearest_in(x * factor, -32, 31);
        qq.lanes[k] += x * x * quant * quant;
        xq.lanes[k] += x * x * x * quant;
      }
    }
    return qq.total() > 0 ? xq.total() / qq.total() : step;
  }

  const float* weights_;
};

int round_scale(const SymmetricGroup& group, float scale, float d) {
  if (d == 0) return 0;
  const int nearest = static_cast<int>(nearest_in(scale / d, -128, 127));
  int best = nearest;
  float least = INFINITY;
  for (int s = std::max(nearest - 1, -128); s <= std::min(nearest + 1, 127); ++s) {
    const float found = group.error(d * static_cast<float>(s));
    if (found < least) {
      least = found;
      best = s;
    }
  }
  return best;
}

}  // namespace

void quantize_q4_k(const float* weights, std::byte* block) {
  const AffineBlock parts = quantize_scales(weights, 15, block);
  store_low_halves(parts, block + 16);
}

void quantize_q5_k(const float* weights, std::byte* block) {
  const AffineBlock parts = quantize_scales(weights, 31, block);
  for (int i = 0; i < AffineGroup::kSize; ++i) {
    int fifth = 0;
    for (int g = 0; g < kAffineGroups; ++g) {
      fifth |= parts.groups[g].quant(parts.fits[g], i) >> 4 << g;
    }
    block[16 + i] = static_cast<std::byte>(fifth);
  }
  store_low_halves(parts, block + 48);
}

void quantize_q6_k(const float* weights, std::byte* block) {
  constexpr int kGroups = kSuperBlock / SymmetricGroup::kSize;
  float scales[kGroups];
  float largest = 0;
  for (int g = 0; g < kGroups; ++g) {
    scales[g] = SymmetricGroup(weights + std::ptrdiff_t{g} * SymmetricGroup::kSize).search();
    if (std::abs(scales[g]) > std::abs(largest)) largest = scales[g];
  }
  const float d = store_half(largest / -128.0F, block + 208);
  std::memset(block, 0, 192);
  for (int g = 0; g < kGroups; ++g) {
    const SymmetricGroup group(weights + std::ptrdiff_t{g} * SymmetricGroup::kSize);
    const int scale = round_scale(group, scales[g], d);
    block[192 + g] = static_cast<std::byte>(scale);
    for (int k = 0; k < SymmetricGroup::kSize; ++k) {
      const int quant = group.quant(d * static_cast<float>(scale), k) + 32;
      const int i = g * SymmetricGroup::kSize + k;  // its place: decode_q6_k
      const int half = i / 128;
      const int row = i % 128 / 32;
      block[half * 64 + row % 2 * 32 + i % 32] |=
          static_cast<std::byte>((quant & 15) << (row / 2 * 4));
      block[128 + half * 32 + i % 32] |= static_cast<std::byte>((quant >> 4) << (row * 2));
    }
  }
}

}  // namespace diffllama
