#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "diffllama/config.h"

namespace diffllama {

/// The names that config.json uses for the enumerations of diffllama/config.h. A find_* function
/// gives nothing for a name that is not allowed; a *_names function lists the allowed ones for an
/// error message, as "a, b or c".
std::string_view model_type_name(ModelType type);
std::optional<ModelType> find_model_type(std::string_view name);
std::string model_type_names();

/// swish reads as silu, and is written as silu. poly_norm is allowed for Motif alone.
std::string_view activation_name(Activation activation);
std::optional<Activation> find_activation(std::string_view name, ModelType type);
std::string activation_names(ModelType type);

std::string_view rope_type_name(RopeType type);
std::optional<RopeType> find_rope_type(std::string_view name);
std::string rope_type_names();

std::string_view problem_type_name(ProblemType type);
std::optional<ProblemType> find_problem_type(std::string_view name);
std::string problem_type_names();

/// "DiffLlamaForCausalLM", "LlamaModel", ...
std::string architecture_name(ModelType type, Architecture architecture);
std::optional<Architecture> find_architecture(ModelType type, std::string_view name);
std::string architecture_names(ModelType type);
/// The type that has a class of this name.
std::optional<ModelType> find_model_type_of_class(std::string_view name);

/// torch's names: "float32" or "float", "float16" or "half", "bfloat16", "float64" or "double".
/// Empty for a dtype that is not one of them.
std::string_view torch_dtype_name(DType dtype);
std::optional<DType> find_torch_dtype(std::string_view name);
std::string torch_dtype_names();

}  // namespace diffllama
