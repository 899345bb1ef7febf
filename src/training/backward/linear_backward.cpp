#include "training/backward/linear_backward.h"

#include <algorithm>
#include <cassert>
#include <span>

#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/gradients.h"
#include "model/row_tasks.h"
#include "training/backward/weight_gradient.h"

namespace diffllama {
namespace {

constexpr std::int64_t kRowsPerTask = 16;
constexpr std::int64_t kColumnsPerTask = 128;

std::int64_t tasks_of(std::int64_t count, std::int64_t per_task) {
  return (count + per_task - 1) / per_task;
}

}  // namespace

void add_column_sums(float* y, const float* w, const float* a, const float* b, std::int64_t rows,
                     std::int64_t columns, const Parallel& parallel) {
  parallel.run(tasks_of(columns, kColumnsPerTask), [&](std::int64_t task, int) {
    const std::int64_t first = task * kColumnsPerTask;
    const std::int64_t count = std::min(kColumnsPerTask, columns - first);
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::int64_t at = row * columns + first;
      add_product(y + first, w == nullptr ? 1.0F : w[row], a + at, b == nullptr ? nullptr : b + at,
                  count);
    }
  });
}

const void* LinearBackward::converted(const Rows& rows, Buffer<std::uint16_t>& buffer) const {
  if (type_ == ProductType::float32) return rows.data;
  std::uint16_t* out = buffer.reserve(static_cast<std::size_t>(rows.rows * rows.columns));
  for_each_row(rows.rows, parallel_, [&](std::int64_t row) {
    to_bfloat16(rows.data + row * rows.columns, out + row * rows.columns, rows.columns);
  });
  return out;
}

// W [out, in] in the type of the products.
const void* LinearBackward::weight(const std::string& name) {
  const auto found = parameters_.find(name);
  assert(found != parameters_.end());
  const Parameter& parameter = found->second;
  const bool bfloat16 = type_ == ProductType::bfloat16;
  if (!bfloat16 && parameter.values != nullptr) return parameter.values;
  const std::int64_t columns = parameter.columns();
  const auto size = static_cast<std::size_t>(parameter.rows() * columns);
  const bool here = in_scratch_ == name;
  in_scratch_ = name;
  if (bfloat16) {
    std::uint16_t* out = scratch_.weight_bfloat16.reserve(size);
    if (here) return out;
    if (parameter.values != nullptr) {
      return converted({parameter.values, parameter.rows(), columns}, scratch_.weight_bfloat16);
    }
    float* rows = scratch_.weight.reserve(static_cast<std::size_t>(parallel_.threads() * columns));
    parallel_.run(tasks_of(parameter.rows(), kRowsPerTask), [&](std::int64_t task, int worker) {
      const std::span values(rows + worker * columns, static_cast<std::size_t>(columns));
      const std::int64_t end = std::min(parameter.rows(), (task + 1) * kRowsPerTask);
      for (std::int64_t row = task * kRowsPerTask; row < end; ++row) {
        parameter.read_row(row, values);
        to_bfloat16(values.data(), out + row * columns, columns);
      }
    });
    return out;
  }
  float* out = scratch_.weight.reserve(size);
  if (here) return out;
  for_each_row(parameter.rows(), parallel_, [&](std::int64_t row) {
    parameter.read_row(row, std::span(out + row * columns, static_cast<std::size_t>(columns)));
  });
  return out;
}

void LinearBackward::run(std::initializer_list<Layer> layers, const Rows& x, float* dx) {
  const std::int64_t in = x.columns;
  const void* x_rows = nullptr;
  for (const Layer& layer : layers) {
    const Rows& dy = layer.dy;
    assert(x.rows == dy.rows);
    const void* dy_rows = converted(dy, scratch_.dy_bfloat16);
    if (gradients_.contains(layer.name + ".weight")) {
      if (x_rows == nullptr) x_rows = converted(x, scratch_.x_bfloat16);
      add_weight_gradient(type_, dy_rows, dy.columns, x_rows, in, x.rows,
                          gradients_.find_whole(layer.name + ".weight"), parallel_);
    }
    if (float* bias_gradient = gradients_.find(layer.name + ".bias")) {
      add_column_sums(bias_gradient, nullptr, dy.data, nullptr, dy.rows, dy.columns, parallel_);
    }
    if (dx != nullptr) {
      gemm(type_,
           {.m = x.rows,
            .n = in,
            .k = dy.columns,
            .a = dy_rows,
            .lda = dy.columns,
            .b = weight(layer.name + ".weight"),
            .ldb = in,
            .c = dx,
            .ldc = in,
            .accumulate = &layer != layers.begin()},
           parallel_);
    }
    if (layer.linear.lora) {
      lora_backward(*layer.linear.lora, dropout_, x, dy, dx, gradients_, scratch_.lora, parallel_);
    }
  }
}

}  // namespace diffllama
