#include "config/names.h"

#include <array>
#include <cstddef>
#include <utility>

namespace diffllama {
namespace {

template <class Enum, std::size_t N>
using Table = std::array<std::pair<std::string_view, Enum>, N>;

// The first name of a value is the one that is written.
constexpr Table<ModelType, 5> kModelTypes{{{"diffllama", ModelType::diffllama},
                                           {"llama", ModelType::llama},
                                           {"diff_transformer", ModelType::diff_transformer},
                                           {"diff_transformer_v2", ModelType::diff_transformer_v2},
                                           {"motif", ModelType::motif}}};

// What the names of a type's classes begin with.
constexpr Table<ModelType, 5> kClassPrefixes{{{"DiffLlama", ModelType::diffllama},
                                              {"Llama", ModelType::llama},
                                              {"DiffTransformer", ModelType::diff_transformer},
                                              {"DiffTransformerV2", ModelType::diff_transformer_v2},
                                              {"Motif", ModelType::motif}}};

constexpr std::string_view kPolyNorm = "poly_norm";  // of Motif alone

constexpr Table<Activation, 11> kActivations{{{"silu", Activation::silu},
                                              {"swish", Activation::silu},
                                              {"gelu", Activation::gelu},
                                              {"gelu_new", Activation::gelu_new},
                                              {"gelu_pytorch_tanh", Activation::gelu_pytorch_tanh},
                                              {"gelu_fast", Activation::gelu_fast},
                                              {"quick_gelu", Activation::quick_gelu},
                                              {"relu", Activation::relu},
                                              {"relu2", Activation::relu2},
                                              {"tanh", Activation::tanh},
                                              {"sigmoid", Activation::sigmoid}}};

constexpr Table<RopeType, 6> kRopeTypes{{{"default", RopeType::default_rope},
                                         {"linear", RopeType::linear},
                                         {"dynamic", RopeType::dynamic},
                                         {"yarn", RopeType::yarn},
                                         {"longrope", RopeType::longrope},
                                         {"llama3", RopeType::llama3}}};

constexpr Table<ProblemType, 3> kProblemTypes{
    {{"regression", ProblemType::regression},
     {"single_label_classification", ProblemType::single_label_classification},
     {"multi_label_classification", ProblemType::multi_label_classification}}};

// What follows "DiffLlama", "Llama", ...
constexpr Table<Architecture, 5> kArchitectures{
    {{"Model", Architecture::base_model},
     {"ForCausalLM", Architecture::causal_lm},
     {"ForSequenceClassification", Architecture::sequence_classification},
     {"ForQuestionAnswering", Architecture::question_answering},
     {"ForTokenClassification", Architecture::token_classification}}};

constexpr Table<DType, 7> kTorchDTypes{{{"float32", DType::float32},
                                        {"float", DType::float32},
                                        {"float16", DType::float16},
                                        {"half", DType::float16},
                                        {"bfloat16", DType::bfloat16},
                                        {"float64", DType::float64},
                                        {"double", DType::float64}}};

template <class Enum, std::size_t N>
std::string_view name_of(const Table<Enum, N>& table, Enum value) {
  for (const auto& [name, entry] : table) {
    if (entry == value) return name;
  }
  return {};
}

template <class Enum, std::size_t N>
std::optional<Enum> find(const Table<Enum, N>& table, std::string_view name) {
  for (const auto& [entry, value] : table) {
    if (entry == name) return value;
  }
  return std::nullopt;
}

template <class Enum, std::size_t N>
std::string list(const Table<Enum, N>& table, std::string_view prefix = "") {
  std::string text;
  for (std::size_t i = 0; i < N; ++i) {
    if (i > 0) text += i + 1 == N ? " or " : ", ";
    text += prefix;
    text += table[i].first;
  }
  return text;
}

std::string_view class_prefix(ModelType type) { return name_of(kClassPrefixes, type); }

}  // namespace

std::string_view model_type_name(ModelType type) { return name_of(kModelTypes, type); }
std::optional<ModelType> find_model_type(std::string_view name) { return find(kModelTypes, name); }
std::string model_type_names() { return list(kModelTypes); }

std::string_view activation_name(Activation activation) {
  return activation == Activation::poly_norm ? kPolyNorm : name_of(kActivations, activation);
}
std::optional<Activation> find_activation(std::string_view name, ModelType type) {
  if (type == ModelType::motif && name == kPolyNorm) return Activation::poly_norm;
  return find(kActivations, name);
}
std::string activation_names(ModelType type) {
  const std::string names = list(kActivations);
  return type == ModelType::motif ? std::string(kPolyNorm) + ", " + names : names;
}

std::string_view rope_type_name(RopeType type) { return name_of(kRopeTypes, type); }
std::optional<RopeType> find_rope_type(std::string_view name) { return find(kRopeTypes, name); }
std::string rope_type_names() { return list(kRopeTypes); }

std::string_view problem_type_name(ProblemType type) { return name_of(kProblemTypes, type); }
std::optional<ProblemType> find_problem_type(std::string_view name) {
  return find(kProblemTypes, name);
}
std::string problem_type_names() { return list(kProblemTypes); }

std::string architecture_name(ModelType type, Architecture architecture) {
  return std::string(class_prefix(type)) + std::string(name_of(kArchitectures, architecture));
}
std::optional<Architecture> find_architecture(ModelType type, std::string_view name) {
  const std::string_view prefix = class_prefix(type);
  if (!name.starts_with(prefix)) return std::nullopt;
  return find(kArchitectures, name.substr(prefix.size()));
}
std::string architecture_names(ModelType type) { return list(kArchitectures, class_prefix(type)); }
std::optional<ModelType> find_model_type_of_class(std::string_view name) {
  for (const auto& [unused, type] : kModelTypes) {
    if (find_architecture(type, name)) return type;
  }
  return std::nullopt;
}

std::string_view torch_dtype_name(DType dtype) { return name_of(kTorchDTypes, dtype); }
std::optional<DType> find_torch_dtype(std::string_view name) { return find(kTorchDTypes, name); }
std::string torch_dtype_names() { return list(kTorchDTypes); }

}  // namespace diffllama
