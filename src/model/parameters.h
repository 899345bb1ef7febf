#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "checkpoint/checkpoint.h"
#include "diffllama/config.h"
#include "diffllama/tensor.h"

namespace diffllama {

/// One parameter, wherever its values come from: a mapped file, an initialisation that can be drawn
/// again, or memory.
struct Parameter {
  DType dtype = DType::float32;  // as stored
  Shape shape;
  /// Row `row` of [rows(), columns()] as float32 (a vector is one row). Any thread may call it.
  std::function<void(std::int64_t row, std::span<float> out)> read_row;
  /// The same row as stored, for matrices in the blocks of a quantised dtype. Any thread may call
  /// it.
  std::function<std::span<const std::byte>(std::int64_t row)> row_blocks = {};
  /// All its values, where they lie in memory as float32 for as long as the parameter lives.
  const float* values = nullptr;
  /// Its pages are not needed for now; reading again is allowed.
  std::function<void()> release = [] {};

  std::int64_t rows() const { return row_count(shape); }
  std::int64_t columns() const { return shape.empty() ? 1 : shape.back(); }
  /// All values, float32, in `shape`.
  Tensor read() const;
};

/// The parameters of a model by their transformers names.
using Parameters = std::map<std::string, Parameter>;

/// Those of a checkpoint, which stays open as long as any of them lives. What a merged adapter
/// changes is float32, whatever is stored: only products may round it.
Parameters stored_parameters(const std::shared_ptr<const Checkpoint>& checkpoint);

/// Those of a new model, as transformers initialises it: normal(0, initializer_range) for weights
/// and embeddings, row pad_token_id of the embeddings zero, zero biases, norms one, lambda vectors
/// normal(0, lambda_std_dev), the weights of PolyNorm 1/3. Every value is a function of seed, name
/// and position alone. Stored as config.dtype, float32 when it has none.
Parameters initial_parameters(const ModelConfig& config, std::uint64_t seed);

/// A two-dimensional parameter with `rows` rows: cut at the end, or extended by the mean of the old
/// rows.
Parameter resized_rows(const Parameter& parameter, std::int64_t rows);

/// Rounds a float32 value through `dtype` (float32, float16 or bfloat16).
float round_to(DType dtype, float value);

}  // namespace diffllama
