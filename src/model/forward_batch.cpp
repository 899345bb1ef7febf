#include "model/forward_batch.h"

#include <algorithm>
#include <iterator>
#include <string>

#include "diffllama/error.h"
#include "model/heads/head_checks.h"

namespace diffllama {
namespace {

// 0 or 1 for each element of an int64, boolean or uint8 mask.
std::vector<std::uint8_t> mask_values(const Tensor& mask) {
  std::vector<std::uint8_t> values(static_cast<std::size_t>(mask.size()));
  const auto check = [&](std::int64_t value, std::size_t i) {
    if (value != 0 && value != 1) {
      throw InvalidArgument("[attention_mask] expected 0 or 1, got " + std::to_string(value) +
                            " at element " + std::to_string(i));
    }
    values[i] = static_cast<std::uint8_t>(value);
  };
  if (mask.dtype() == DType::int64) {
    for (std::size_t i = 0; i < values.size(); ++i) check(mask.i64()[i], i);
  } else if (mask.dtype() == DType::boolean) {
    for (std::size_t i = 0; i < values.size(); ++i)
      check(static_cast<std::int64_t>(mask.bytes()[i]), i);
  } else {
    throw InvalidArgument("[attention_mask] expected int64 or bool, got " +
                          std::string(dtype_name(mask.dtype())));
  }
  return values;
}

void read_tokens(const ModelConfig& config, const ForwardInputs& inputs, ForwardBatch& batch) {
  if (inputs.input_ids.has_value() == inputs.inputs_embeds.has_value()) {
    throw InvalidArgument(std::string("[forward] expected input_ids or inputs_embeds, got ") +
                          (inputs.input_ids ? "both" : "neither"));
  }
  const Tensor& source = inputs.input_ids ? *inputs.input_ids : *inputs.inputs_embeds;
  const Shape& shape = source.shape();
  const std::size_t rank = inputs.input_ids ? 2 : 3;
  const char* name = inputs.input_ids ? "input_ids" : "inputs_embeds";
  if (shape.size() != rank || source.empty() || (rank == 3 && shape[2] != config.hidden_size)) {
    throw InvalidArgument(
        std::string("[") + name + "] expected " +
        (rank == 2 ? "[B, T]" : "[B, T, " + std::to_string(config.hidden_size) + "]") +
        " with at least one token, got " + to_string(shape));
  }
  batch.batch = shape[0];
  batch.tokens = shape[1];
  if (inputs.input_ids) {
    require_tensor(name, source, DType::int64, shape);
    check_ids(name, source.i64(), config.vocab_size);
  } else {
    require_tensor(name, source, DType::float32, shape);
  }
}

void read_mask(const ForwardInputs& inputs, ForwardBatch& batch) {
  if (!inputs.attention_mask) return;
  const Shape& shape = inputs.attention_mask->shape();
  const Shape flat = {batch.batch, batch.keys()};
  const Shape full = {batch.batch, 1, batch.tokens, batch.keys()};
  if (shape != flat && shape != full) {
    throw InvalidArgument("[attention_mask] expected " + to_string(flat) + " or " +
                          to_string(full) + ", got " + to_string(shape));
  }
  std::vector<std::uint8_t> values = mask_values(*inputs.attention_mask);
  if (shape == full) {
    batch.mask = std::move(values);
    return;
  }
  // What the cache holds was decided when it went in: the new tokens' part counts.
  for (std::int64_t b = 0; b < batch.batch; ++b) {
    const auto row = values.begin() + b * batch.keys() + batch.past;
    batch.visible.insert(batch.visible.end(), row, row + batch.tokens);
  }
}

void read_positions(const ForwardInputs& inputs, bool keeps_cache, ForwardBatch& batch) {
  const std::int64_t count = batch.batch * batch.tokens;
  batch.positions.resize(static_cast<std::size_t>(count));
  if (!inputs.position_ids) {
    for (std::int64_t i = 0; i < count; ++i) {
      batch.positions[static_cast<std::size_t>(i)] = batch.past + i % batch.tokens;
    }
    return;
  }
  const Tensor& given = *inputs.position_ids;
  const bool shared =
      given.shape() == Shape{1, batch.tokens};  // one row for the whole batch, as torch broadcasts
  require_tensor("position_ids", given, DType::int64,
                 shared ? given.shape() : Shape{batch.batch, batch.tokens});
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t position =
        given.i64()[static_cast<std::size_t>(shared ? i % batch.tokens : i)];
    if (position < 0 || position > std::int64_t{1} << 31) {
      throw InvalidArgument("[position_ids] expected 0..2^31, got " + std::to_string(position) +
                            " at element " + std::to_string(i));
    }
    batch.positions[static_cast<std::size_t>(i)] = position;
    const bool restarts =
        i % batch.tokens != 0 && position != batch.positions[static_cast<std::size_t>(i - 1)] + 1;
    if (restarts && !inputs.attention_mask && !keeps_cache) batch.segment_ends.push_back(i);
  }
}

}  // namespace

void check_ids(const char* name, std::span<const std::int64_t> ids, std::int64_t vocab_size) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size) {
      throw InvalidArgument(std::string("[") + name + "] expected 0.." +
                            std::to_string(vocab_size - 1) + ", got " + std::to_string(ids[i]) +
                            " at element " + std::to_string(i));
    }
  }
}

ForwardBatch read_batch(const ModelConfig& config, const ForwardInputs& inputs,
                        const BatchState* state, HeadExamples examples) {
  ForwardBatch batch;
  read_tokens(config, inputs, batch);
  if (state != nullptr) {
    if (static_cast<std::int64_t>(state->sequences.size()) != batch.batch) {
      throw InvalidArgument("[cache] expected one for " + std::to_string(batch.batch) +
                            " sequences, got one for " + std::to_string(state->sequences.size()));
    }
    batch.past = state->length;
  }
  read_mask(inputs, batch);
  read_positions(inputs, state != nullptr, batch);
  for (std::int64_t b = 1; b <= batch.batch; ++b) batch.example_ends.push_back(b * batch.tokens);
  std::ranges::copy(batch.example_ends, std::back_inserter(batch.segment_ends));
  std::ranges::sort(batch.segment_ends);
  if (examples == HeadExamples::sequences) batch.example_ends = batch.segment_ends;
  return batch;
}

SequenceStep make_step(const ModelConfig& config, const ForwardInputs& inputs,
                       const ForwardBatch& batch, std::int64_t first, std::int64_t end) {
  const std::int64_t row = first / batch.tokens;
  const auto part = [&](const auto& values) {
    return std::span(values).subspan(static_cast<std::size_t>(first),
                                     static_cast<std::size_t>(end - first));
  };
  SequenceStep step;
  if (inputs.input_ids) {
    step.input_ids = part(inputs.input_ids->i64());
  } else {
    step.inputs_embeds = inputs.inputs_embeds->f32().data() + first * config.hidden_size;
  }
  step.positions = part(batch.positions);
  const auto row_positions = std::span(batch.positions)
                                 .subspan(static_cast<std::size_t>(row * batch.tokens),
                                          static_cast<std::size_t>(batch.tokens));
  step.rotary_length = std::ranges::max(row_positions) + 1;
  if (!batch.visible.empty()) step.visible = part(batch.visible);
  if (!batch.mask.empty()) step.mask = batch.mask.data() + row * batch.tokens * batch.keys();
  return step;
}

}  // namespace diffllama
