#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "diffllama/model.h"

namespace diffllama::parity {

using Tensors = std::map<std::string, Tensor>;

/// One case of tests/golden/forward/cases.json, which tools/make_goldens.py wrote: a checkpoint,
/// the inputs of a forward pass and the outputs that transformers gave.
struct Golden {
  std::filesystem::path checkpoint;
  ForwardInputs inputs;  // with the options of the call
  Tensors outputs;       // named as `diffllama forward` names them
  Tensors gradients;     // grad.NAME of every parameter; empty: not asked for
  /// Rotary frequencies follow the prompt's length, so a cache that is fed in pieces differs.
  bool length_dependent = false;
  bool for_each_token = false;   // a base model or a causal LM, not a head for whole sequences
  std::vector<bool> comparable;  // [B * T]: false where a row may see nothing
};

/// The repository's root.
std::filesystem::path source_dir();
/// "MODEL/CASE" of every golden that cases.json lists, sorted. The list is committed, so that a
/// golden whose tensors are lost fails.
std::vector<std::string> golden_names();
/// "MODEL/CASE" of every golden whose tensors are there, sorted.
std::vector<std::string> stored_golden_names();
Golden load_golden(const std::string& name);

/// The tensors of a safetensors file.
Tensors load_tensors(const std::filesystem::path& path);
/// The members of `output` as `diffllama forward` writes them: logits, loss as [1],
/// hidden_states.0, grad.NAME, ...
Tensors named(const ForwardOutput& output);

/// Elements [begin, end) of one axis.
Tensor slice(const Tensor& tensor, std::size_t axis, std::int64_t begin, std::int64_t end);
/// `inputs` with each per-token or per-sequence tensor cut to one sequence; labels are left out.
ForwardInputs sequence_of(const ForwardInputs& inputs, std::int64_t row);
/// [B, T] of the inputs.
std::pair<std::int64_t, std::int64_t> batch_and_length(const ForwardInputs& inputs);

}  // namespace diffllama::parity
