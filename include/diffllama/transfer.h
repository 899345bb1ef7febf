#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "diffllama/model.h"

namespace [[gnu::visibility("default")]] diffllama {

/// The weights of a checkpoint under another configuration, which has the same layers and perhaps
/// another head or other labels. What the head has and the files lack is new, as Model::from_config
/// makes it from `seed`, and named in a warning. Throws what Model::from_pretrained does, and
/// FormatError where a tensor of the layers is absent or has another shape.
Model from_pretrained_as(const ModelConfig& config, const std::filesystem::path& path,
                         std::uint64_t seed, const LoadOptions& options = {});

/// Replaces parameters by float32 values of their shape, which are kept, and saved, as such: a step
/// of training outside. Throws InvalidArgument, before anything is changed, for a name that
/// parameter_names() lacks and for another shape or type.
void set_parameters(Model& model, const std::map<std::string, Tensor>& values);

/// Replaces what of a configuration the weights do not depend on: pad_token_id, bos_token_id,
/// eos_token_ids, problem_type, use_cache, the labels' names, dropouts, how new weights are drawn,
/// and source_json. Throws ConfigError, before anything is changed, where anything else differs,
/// the number of labels among it.
void set_config(Model& model, const ModelConfig& config);

}  // namespace diffllama
