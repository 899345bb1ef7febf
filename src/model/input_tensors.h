#pragma once

#include <map>
#include <string>

#include "diffllama/model.h"
#include "diffllama/tensor.h"

namespace diffllama {

/// What a forward takes, copied from tensors with transformers' names, as a safetensors file holds
/// them: input_ids, inputs_embeds, attention_mask, position_ids, labels, start_positions,
/// end_positions. Throws InvalidArgument that starts with `where` for another name.
ForwardInputs read_input_tensors(const std::map<std::string, TensorView>& tensors,
                                 const std::string& where);

}  // namespace diffllama
