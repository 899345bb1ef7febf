#include "model/adapters.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "base/random.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

Parameter uniform(Shape shape, double bound, const Random& random) {
  return {.shape = std::move(shape), .read_row = [=](std::int64_t row, std::span<float> out) {
            const std::uint64_t first = static_cast<std::uint64_t>(row) * out.size();
            for (std::size_t i = 0; i < out.size(); ++i) {
              out[i] = static_cast<float>(bound * (2 * random.uniform(first + i) - 1));
            }
          }};
}

Parameter zero(Shape shape) {
  return {.shape = std::move(shape),
          .read_row = [](std::int64_t, std::span<float> out) { std::ranges::fill(out, 0.0F); }};
}

// `values` [rows, columns], which `owner` holds.
Parameter held(std::int64_t rows, std::int64_t columns, std::span<const float> values,
               const std::shared_ptr<const LoraAdapter>& owner) {
  return {.shape = {rows, columns},
          .read_row = [owner, values](std::int64_t row, std::span<float> out) {
            const auto from =
                values.subspan(static_cast<std::size_t>(row) * out.size(), out.size());
            std::ranges::copy(from, out.begin());
          }};
}

}  // namespace

Parameters initial_lora_parameters(const LoraLayout& layout, std::uint64_t seed) {
  Parameters parameters;
  for (const LoraTarget& target : layout.targets) {
    const double bound = 1 / std::sqrt(static_cast<double>(target.in));
    parameters[target.a_name()] =
        uniform({target.rank, target.in}, bound, Random(seed, random_stream(target.a_name())));
    parameters[target.b_name()] = zero({target.out, target.rank});
  }
  return parameters;
}

Parameters stored_lora_parameters(const std::shared_ptr<const LoraAdapter>& adapter) {
  Parameters parameters;
  for (const LoraTarget& target : adapter->layout().targets) {
    const LoraMatrices& lora = adapter->modules().at(target.module);
    parameters[target.a_name()] = held(lora.rank, lora.in, lora.a, adapter);
    parameters[target.b_name()] = held(lora.out, lora.rank, lora.b, adapter);
  }
  for (const auto& [name, stored] : adapter->saved()) {
    parameters[name] = {
        .dtype = stored.view.dtype,
        .shape = stored.view.shape,
        .read_row = [adapter, tensor = &stored](std::int64_t row, std::span<float> out) {
          tensor->read_row(row, out);
        }};
  }
  return parameters;
}

Parameter merged_parameter(const Parameter& base, const LoraMatrices& lora, DType dtype) {
  if (base.shape != Shape{lora.out, lora.in}) {
    throw InvalidArgument("[merged_parameter] expected a weight " +
                          to_string(Shape{lora.out, lora.in}) + ", got " + to_string(base.shape));
  }
  round_to(dtype, 0.0F);  // refuses block-quantised types
  Parameter merged = base;
  merged.dtype = dtype;
  merged.row_blocks = {};
  merged.read_row = [read = base.read_row, lora, dtype](std::int64_t row, std::span<float> out) {
    read(row, out);
    lora.add_row(row, out);
    for (float& value : out) value = round_to(dtype, value);
  };
  return merged;
}

}  // namespace diffllama
