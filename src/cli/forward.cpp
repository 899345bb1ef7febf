#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <string>

#include "cli/common.h"
#include "cli/validators.h"
#include "diffllama/checkpoint.h"
#include "diffllama/files.h"
#include "diffllama/safetensors.h"

namespace diffllama::cli {
namespace {

struct ForwardOptions {
  ForwardOptions() { model.compute = ComputeType::float32; }

  ModelOptions model;
  std::string inputs, outputs;
  std::int64_t logits_to_keep = 0;
  bool hidden_states = false;
  bool attentions = false;
  bool gradients = false;
};

ForwardInputs read_inputs(const ForwardOptions& options) {
  ForwardInputs inputs =
      ForwardInputs::from_tensors(load_safetensors(options.inputs), options.inputs);
  inputs.logits_to_keep = options.logits_to_keep;
  inputs.output_hidden_states = options.hidden_states;
  inputs.output_attentions = options.attentions;
  inputs.output_gradients = options.gradients;
  return inputs;
}

void write_outputs(const ForwardOutput& output, const std::string& path) {
  std::map<std::string, TensorView> tensors;
  const auto add = [&](const std::string& name, const Tensor& tensor) {
    tensors[name] = tensor.view();
  };
  if (output.logits) add("logits", *output.logits);
  if (output.last_hidden_state) add("last_hidden_state", *output.last_hidden_state);
  if (output.start_logits) add("start_logits", *output.start_logits);
  if (output.end_logits) add("end_logits", *output.end_logits);
  Tensor loss(DType::float32, {1});
  if (output.loss) {
    loss.f32()[0] = *output.loss;
    add("loss", loss);
  }
  for (std::size_t i = 0; i < output.hidden_states.size(); ++i) {
    add("hidden_states." + std::to_string(i), output.hidden_states[i]);
  }
  for (std::size_t i = 0; i < output.attentions.size(); ++i) {
    add("attentions." + std::to_string(i), output.attentions[i]);
  }
  for (const auto& [name, gradient] : output.gradients) add("grad." + name, gradient);
  save_safetensors(path, tensors);
}

}  // namespace

void add_forward_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "forward", "Run a model once on tensors from a file; write what it computes");
  const auto options = std::make_shared<ForwardOptions>();
  add_model_options(*command, options->model);
  add_path_option(*command, "--inputs", options->inputs,
                  "safetensors: input_ids or inputs_embeds; attention_mask, position_ids, labels, "
                  "start_positions, "
                  "end_positions")
      ->required();
  add_path_option(*command, "--outputs", options->outputs,
                  "safetensors to write: logits, loss, ...")
      ->required();
  command->add_flag("--hidden-states", options->hidden_states,
                    "Write hidden_states.0 to hidden_states.L");
  command->add_flag("--attentions", options->attentions,
                    "Write attentions.I, the softmax maps of each layer");
  command
      ->add_option("--logits-to-keep", options->logits_to_keep,
                   "Logits of the last N tokens only; 0: of all")
      ->check(CLI::Range(std::int64_t{0}, std::numeric_limits<std::int64_t>::max()));
  command->add_flag("--gradients", options->gradients,
                    "Write grad.NAME, the gradient of the loss for every parameter");
  command->callback([options] {
    refuse_overwriting(options->outputs, {options->inputs});
    refuse_overwriting(options->outputs, model_files(model_path(options->model)));
    refuse_overwriting(options->outputs, model_files(options->model.adapter));
    const ForwardInputs inputs = read_inputs(*options);
    const Model model = load_model(options->model);
    write_outputs(model.forward(inputs), options->outputs);
  });
}

}  // namespace diffllama::cli
