#include "model/parameters.h"

#include <algorithm>
#include <vector>

#include "base/random.h"
#include "diffllama/error.h"
#include "tensor/half.h"

namespace diffllama {
namespace {

bool ends_with(const std::string& name, const std::string& end) {
  return name.size() >= end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0;
}

Parameter constant(DType dtype, Shape shape, float value) {
  return {
      .dtype = dtype,
      .shape = std::move(shape),
      .read_row = [value](std::int64_t, std::span<float> out) { std::ranges::fill(out, value); }};
}

Parameter normal(DType dtype, Shape shape, double deviation, const Random& random,
                 std::int64_t zero_row) {
  return {.dtype = dtype,
          .shape = std::move(shape),
          .read_row = [=](std::int64_t row, std::span<float> out) {
            const std::uint64_t first = static_cast<std::uint64_t>(row) * out.size();
            for (std::size_t i = 0; i < out.size(); ++i) {
              const double value = row == zero_row ? 0.0 : deviation * random.normal(first + i);
              out[i] = round_to(dtype, static_cast<float>(value));
            }
          }};
}

}  // namespace

float round_to(DType dtype, float value) {
  switch (dtype) {
    case DType::float32:
      return value;
    case DType::float16:
      return float16_to_float(float_to_float16(value));
    case DType::bfloat16:
      return bfloat16_to_float(float_to_bfloat16(value));
    default:
      throw InvalidArgument(
          "[parameters] expected dtype float32, float16 or bfloat16 for a new model, got " +
          std::string(dtype_name(dtype)));
  }
}

Tensor Parameter::read() const {
  Tensor tensor(DType::float32, shape);
  const auto width = static_cast<std::size_t>(columns());
  for (std::int64_t row = 0; row < rows(); ++row) {
    read_row(row, tensor.f32().subspan(static_cast<std::size_t>(row) * width, width));
  }
  return tensor;
}

Parameters stored_parameters(const std::shared_ptr<const Checkpoint>& checkpoint) {
  Parameters parameters;
  for (const TensorSpec& spec : tensor_specs(checkpoint->config())) {
    const StoredTensor* stored = checkpoint->find(spec.name);
    if (stored == nullptr) continue;  // optional: open() has seen to the required ones
    parameters[spec.name] = {
        .dtype = stored->view.dtype,
        .shape = spec.shape,
        .read_row = [checkpoint, stored](std::int64_t row,
                                         std::span<float> out) { stored->read_row(row, out); },
        .row_blocks = [checkpoint, stored](std::int64_t row) { return stored->row_bytes(row); },
        .release = [checkpoint, stored] { Checkpoint::release(*stored); }};
    if (stored->add_row) {
      parameters[spec.name].dtype = DType::float32;
      parameters[spec.name].row_blocks = {};
    }
  }
  return parameters;
}

Parameters initial_parameters(const ModelConfig& config, std::uint64_t seed) {
  const DType dtype = config.dtype.value_or(DType::float32);
  round_to(dtype, 0.0F);  // refuses a dtype that cannot be trained in
  Parameters parameters;
  for (const TensorSpec& spec : tensor_specs(config)) {
    if (!spec.required) continue;  // a tied lm_head
    const Random random(seed, random_stream(spec.name));
    Parameter parameter;
    if (ends_with(spec.name, "norm.weight") || ends_with(spec.name, "subln.weight")) {
      parameter = constant(dtype, spec.shape, 1.0F);
    } else if (ends_with(spec.name, ".bias") || ends_with(spec.name, ".dex_lambda")) {
      parameter = constant(dtype, spec.shape, 0.0F);
    } else if (ends_with(spec.name, ".act_fn.weight")) {
      parameter = constant(dtype, spec.shape, 1.0F / 3.0F);  // as PolyNorm begins
    } else if (spec.name.find(".self_attn.lambda_") != std::string::npos &&
               spec.shape.size() == 1) {
      parameter = normal(dtype, spec.shape, config.lambda_std_dev, random, -1);
    } else {
      const bool embeddings = ends_with(spec.name, "embed_tokens.weight");
      const std::int64_t zero_row = embeddings ? config.pad_token_id.value_or(-1) : -1;
      parameter = normal(dtype, spec.shape, config.initializer_range, random, zero_row);
    }
    parameters[spec.name] = std::move(parameter);
  }
  return parameters;
}

Parameter resized_rows(const Parameter& parameter, std::int64_t rows) {
  const std::int64_t old_rows = parameter.rows();
  Parameter resized = parameter;
  resized.shape[0] = rows;
  if (rows <= old_rows) return resized;
  const auto width = static_cast<std::size_t>(parameter.columns());
  std::vector<double> sums(width);
  std::vector<float> row_values(width);
  for (std::int64_t row = 0; row < old_rows; ++row) {
    parameter.read_row(row, row_values);
    for (std::size_t i = 0; i < width; ++i) sums[i] += row_values[i];
  }
  // Block-quantised rows cannot hold new values exactly: such a parameter grows in float32.
  if (block_elements(parameter.dtype) != 1) {
    resized.dtype = DType::float32;
    resized.row_blocks = {};
  }
  std::vector<float> mean(width);
  for (std::size_t i = 0; i < width; ++i) {
    mean[i] = round_to(resized.dtype, static_cast<float>(sums[i] / static_cast<double>(old_rows)));
  }
  resized.read_row = [old = parameter, old_rows, mean](std::int64_t row, std::span<float> out) {
    if (row < old_rows) {
      old.read_row(row, out);
    } else {
      std::ranges::copy(mean, out.begin());
    }
  };
  return resized;
}

}  // namespace diffllama
