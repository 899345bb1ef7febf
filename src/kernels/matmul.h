#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "kernels/panel_product.h"

namespace diffllama {

/// Where packed matrices lie: large pieces of memory on huge pages, which matrices of one model
/// share, since streaming them then misses the TLB 512 times less often. Copies share their pieces.
/// A piece is freed with this and the last matrix in it. For one thread at a time.
class PanelMemory {
 public:
  PanelMemory() : pieces_(std::make_shared<Pieces>()) {}
  /// 64-byte aligned, not initialised.
  std::shared_ptr<std::byte> allocate(std::size_t bytes) const;
  /// Gives all of it anew from here on: what lies there is no longer needed. Fresh memory would be
  /// cleared by the system first.
  void reuse();

 private:
  struct Piece {
    std::shared_ptr<std::byte> data;
    std::size_t size;
  };
  struct Pieces {
    std::vector<Piece> all;
    std::size_t current = 0, used = 0;  // the piece in use, and its bytes that are taken
  };
  std::shared_ptr<Pieces> pieces_;
};

/// The weight of a linear layer, W [n, k] of y = x W^T + b, packed into panels (panel_product.h).
/// Immutable once packed; copies share the panels.
class PackedMatrix {
 public:
  /// Writes row `row` of W (k values) to `out`; called from several threads, for different rows.
  using RowReader = std::function<void(std::int64_t row, std::span<float> out)>;

  PackedMatrix() = default;
  /// Packs n rows of k values into plain panels, not quantised ones; float16 and bfloat16 panels
  /// round to nearest even (exact for values that were stored so).
  PackedMatrix(PanelFormat format, std::int64_t n, std::int64_t k, const RowReader& read_row,
               const Parallel& parallel, const PanelMemory& memory = {});

  /// Row `row` of W as a file stores it in blocks; called from several threads.
  using BlockReader = std::function<std::span<const std::byte>(std::int64_t row)>;
  /// Packs n rows of k values, whole blocks, stored in the blocks of a quantised format.
  static PackedMatrix of_blocks(PanelFormat format, std::int64_t n, std::int64_t k,
                                const BlockReader& read_blocks, const Parallel& parallel,
                                const PanelMemory& memory = {});

  /// n x k as panels that lie in memory already, bytes(format, n, k) of them, 64-byte aligned.
  static PackedMatrix of_panels(PanelFormat format, std::int64_t n, std::int64_t k,
                                std::shared_ptr<const std::byte> panels);
  /// Bytes of the panels of an n x k matrix.
  static std::size_t bytes(PanelFormat format, std::int64_t n, std::int64_t k);

  PanelFormat format() const { return format_; }
  std::int64_t n() const { return n_; }
  std::int64_t k() const { return k_; }
  const std::byte* panels() const { return data_.get(); }
  std::size_t panel_stride() const { return panel_bytes(format_, k_); }
  std::size_t bytes() const { return bytes(format_, n_, k_); }

 private:
  PanelFormat format_ = PanelFormat::float32;
  std::int64_t n_ = 0;
  std::int64_t k_ = 0;
  std::shared_ptr<const std::byte> data_;
};

/// Rows of activations in the types that products take: float32 rows are borrowed, others
/// (bfloat16, as such or widened to float32; int8, quantized_rows.h) made in buffers of its own,
/// which grow and are used again. Each is made when the first product asks for it, once for all
/// products of the same rows.
class ActivationRows {
 public:
  /// x: m rows of k values, ldx apart; valid until the last product of them. `compute`: float32 or
  /// bfloat16, for panels that are not quantised.
  void assign(const float* x, std::int64_t m, std::int64_t k, std::int64_t ldx,
              ProductType compute);

  struct Rows {
    const std::byte* data;
    std::int64_t stride;  // elements; bytes for int8, as PanelArgs::lda
    std::int64_t stride_bytes;
    std::int64_t read_bytes;  // of a row, that a product of many rows reads
    ProductType type;
  };
  /// In the type that panels of `format` are multiplied in.
  Rows rows_for(PanelFormat format, const Parallel& parallel);

  std::int64_t m() const { return m_; }
  std::int64_t k() const { return k_; }

 private:
  Rows bfloat16_rows(const Parallel& parallel);
  Rows widened_rows(const Parallel& parallel);
  Rows int8_rows(const Parallel& parallel);

  const float* x_ = nullptr;
  std::int64_t ldx_ = 0, m_ = 0, k_ = 0;
  ProductType compute_ = ProductType::float32;
  Buffer<float> widened_;
  Buffer<std::uint16_t> bfloat16_;
  Buffer<std::byte> int8_;
  bool has_bfloat16_ = false, has_widened_ = false, has_int8_ = false;
};

/// y = a w^T + bias: y has a.m() rows of w.n() values, ldy apart; bias may be null.
struct Product {
  const PackedMatrix* w;
  const float* bias;
  float* y;
  std::int64_t ldy;
};

/// Up to three products of the same rows, in one go: y[i][j] = sum over t of a[i][t] w[j][t] (+
/// bias[j]). Summed as panel_product.h says, the bias added last; neither the split over threads
/// nor what else is computed ever changes a bit. `next`, where it is known, is the weight that is
/// multiplied after these: threads that are done here begin to fetch it.
void matmul(ActivationRows& a, std::span<const Product> products, const Parallel& parallel,
            const PackedMatrix* next = nullptr);
inline void matmul(ActivationRows& a, std::initializer_list<Product> products,
                   const Parallel& parallel) {
  matmul(a, std::span(products.begin(), products.size()), parallel);
}

}  // namespace diffllama
