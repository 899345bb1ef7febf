#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/text.h"
#include "diffllama/error.h"
#include "diffllama/model.h"

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

}  // namespace

ForwardInputs ForwardInputs::from_tensors(std::map<std::string, Tensor> tensors,
                                          const std::string& where) {
  ForwardInputs inputs;
  for (auto& entry : tensors) {
    const std::string& name = entry.first;
    const auto input =
        std::ranges::find_if(kInputs, [&](const auto& each) { return name == each.first; });
    if (input == kInputs.end()) {
      throw InvalidArgument(
          where +
          ": expected input_ids, inputs_embeds, attention_mask, position_ids, labels, "
          "start_positions or end_positions, got \"" +
          shortened(name) + "\"");
    }
    inputs.*(input->second) = std::move(entry.second);
  }
  return inputs;
}

}  // namespace diffllama
