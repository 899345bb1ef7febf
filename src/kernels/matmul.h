#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/parallel.h"
#include "kernels/panel_product.h"

namespace diffllama {

/// The weight of a linear layer, W [n, k] of y = x W^T + b, packed into panels (panel_product.h).
/// Immutable once packed.
class PackedMatrix {
 public:
  /// Writes row `row` of W (k values) to `out`; called from several threads, for different rows.
  using RowReader = std::function<void(std::int64_t row, std::span<float> out)>;

  PackedMatrix() = default;
  /// Packs n rows of k values into plain panels, not quantised ones; float16 and bfloat16 panels
  /// round to nearest even (exact for values that were stored so).
  PackedMatrix(PanelFormat format, std::int64_t n, std::int64_t k, const RowReader& read_row,
               const Parallel& parallel);

  /// Row `row` of W as a file stores it in blocks; called from several threads.
  using BlockReader = std::function<std::span<const std::byte>(std::int64_t row)>;
  /// Packs n rows of k values, a multiple of 32, stored in the blocks of a quantised format.
  static PackedMatrix of_blocks(PanelFormat format, std::int64_t n, std::int64_t k,
                                const BlockReader& read_blocks, const Parallel& parallel);

  PanelFormat format() const { return format_; }
  std::int64_t n() const { return n_; }
  std::int64_t k() const { return k_; }
  const std::byte* panels() const { return data_.get(); }
  std::size_t panel_stride() const { return panel_bytes(format_, k_); }
  std::size_t bytes() const;
  /// Row `row` of W as float32, exactly as packed or, quantised, as the blocks mean it (k values):
  /// tied embeddings are looked up so.
  void read_row(std::int64_t row, std::span<float> out) const;

 private:
  struct Free {
    void operator()(std::byte* data) const;
  };
  PanelFormat format_ = PanelFormat::float32;
  std::int64_t n_ = 0;
  std::int64_t k_ = 0;
  std::unique_ptr<std::byte, Free> data_;
};

/// Rows of activations in the type that products take: float32 rows are borrowed, bfloat16 ones
/// rounded (to nearest even) into a buffer of its own, which grows and is used again. Rounding
/// happens once for all products of the same rows.
class ActivationRows {
 public:
  /// x: m rows of k values, ldx apart. Borrowed for float32: valid while x is.
  void assign(const float* x, std::int64_t m, std::int64_t k, std::int64_t ldx, ProductType type,
              const Parallel& parallel);
  const void* data() const { return data_; }
  std::int64_t lda() const { return lda_; }
  std::int64_t m() const { return m_; }
  std::int64_t k() const { return k_; }
  ProductType type() const { return type_; }

 private:
  struct Free {
    void operator()(std::uint16_t* data) const;
  };
  const void* data_ = nullptr;
  std::int64_t lda_ = 0, m_ = 0, k_ = 0;
  ProductType type_ = ProductType::float32;
  std::unique_ptr<std::uint16_t, Free> buffer_;
  std::size_t capacity_ = 0;
};

/// y[i][j] = sum over t of a[i][t] w[j][t] (+ bias[j]); y has a.m() rows of w.n() values, ldy
/// apart. Summed as panel_product.h says, the bias added last; the split over threads never changes
/// a bit. bias may be null.
void matmul(const ActivationRows& a, const PackedMatrix& w, const float* bias, float* y,
            std::int64_t ldy, const Parallel& parallel);

}  // namespace diffllama
