#include "model/input_tensors.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/text.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

constexpr std::array<std::pair<const char*, std::optional<Tensor> ForwardInputs::*>, 7> kInputs = {
    {{"input_ids", &ForwardInputs::input_ids},
     {"inputs_embeds", &ForwardInputs::inputs_embeds},
     {"attention_mask", &ForwardInputs::attention_mask},
     {"position_ids", &ForwardInputs::position_ids},
     {"labels", &ForwardInputs::labels},
     {"start_positions", &ForwardInputs::start_positions},
     {"end_positions", &ForwardInputs::end_positions}}};

Tensor copy(const TensorView& view) {
  Tensor tensor(view.dtype, view.shape);
  std::ranges::copy(view.bytes, tensor.bytes().begin());
  return tensor;
}

}  // namespace

ForwardInputs read_input_tensors(const std::map<std::string, TensorView>& tensors,
                                 const std::string& where) {
  ForwardInputs inputs;
  for (const auto& [name, view] : tensors) {
    const auto input =
        std::ranges::find_if(kInputs, [&](const auto& each) { return name == each.first; });
    if (input == kInputs.end()) {
      throw InvalidArgument(
          where +
          ": expected input_ids, inputs_embeds, attention_mask, position_ids, labels, "
          "start_positions or end_positions, got \"" +
          shortened(name) + "\"");
    }
    inputs.*(input->second) = copy(view);
  }
  return inputs;
}

}  // namespace diffllama
