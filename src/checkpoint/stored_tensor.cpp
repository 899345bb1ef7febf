#include <algorithm>
#include <cassert>
#include <vector>

#include "base/mapped_file.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/codec/row_codec.h"

namespace diffllama {
namespace {

// Where row `row` of transformers lies in a file whose rotary pairs are side by side: rows i and
// i + d/2 of a head are stored as 2i and 2i + 1.
std::int64_t interleaved_row(std::int64_t row, std::int64_t rows, std::int64_t heads) {
  const std::int64_t d = rows / heads;
  const std::int64_t in_head = row % d;
  const std::int64_t half = d / 2;
  return row - in_head + (in_head < half ? 2 * in_head : 2 * (in_head - half) + 1);
}

}  // namespace

std::int64_t row_count(const Shape& shape) {
  std::int64_t rows = 1;
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return rows;
}

void StoredTensor::read_row(std::int64_t row, std::span<float> out) const {
  if (view.shape.size() > 1) {
    decode_row(view.dtype, row_bytes(row), out);
    if (add_row) add_row(row, out);
    return;
  }
  assert(row == 0);
  decode_row(view.dtype, view.bytes, out);
  if (interleaved_heads != 0) {  // the bias of a matrix that is
    const std::vector<float> stored(out.begin(), out.end());
    const auto size = static_cast<std::int64_t>(out.size());
    for (std::int64_t i = 0; i < size; ++i) {
      out[static_cast<std::size_t>(i)] =
          stored[static_cast<std::size_t>(interleaved_row(i, size, interleaved_heads))];
    }
  }
}

std::span<const std::byte> StoredTensor::row_bytes(std::int64_t row) const {
  const std::int64_t rows = row_count(view.shape);
  assert(view.shape.size() > 1 && row >= 0 && row < rows);
  if (interleaved_heads != 0) row = interleaved_row(row, rows, interleaved_heads);
  const std::size_t size = view.bytes.size() / static_cast<std::size_t>(rows);
  return view.bytes.subspan(static_cast<std::size_t>(row) * size, size);
}

void Checkpoint::release(const StoredTensor& tensor) { release_pages(tensor.view.bytes); }

}  // namespace diffllama
