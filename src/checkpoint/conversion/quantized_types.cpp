#include "checkpoint/conversion/quantized_types.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "diffllama/checkpoint.h"

namespace diffllama {
namespace {

constexpr std::array<QuantizedType, 11> kTypes = {{{"F32", 0, DType::float32},
                                                   {"F16", 1, DType::float16},
                                                   {"BF16", 32, DType::bfloat16},
                                                   {"Q8_0", 7, DType::q8_0},
                                                   {"Q6_K", 18, DType::q6_k},
                                                   {"Q5_K_M", 17, DType::q5_k, true},
                                                   {"Q5_1", 9, DType::q5_1},
                                                   {"Q5_0", 8, DType::q5_0},
                                                   {"Q4_K_M", 15, DType::q4_k, true},
                                                   {"Q4_1", 3, DType::q4_1},
                                                   {"Q4_0", 2, DType::q4_0}}};

char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

bool fits(std::int64_t columns, DType dtype) {
  return columns % static_cast<std::int64_t>(block_elements(dtype)) == 0;
}

DType fallback(DType dtype) {
  switch (dtype) {
    case DType::q4_k:
      return DType::q5_0;
    case DType::q5_k:
      return DType::q5_1;
    case DType::q6_k:
      return DType::q8_0;
    default:
      return DType::float16;
  }
}

// N of blk.N.
std::int64_t layer_of(std::string_view name) {
  std::int64_t layer = 0;
  const std::string_view digits = name.substr(std::min<std::size_t>(name.size(), 4));
  std::from_chars(digits.data(), digits.data() + digits.size(), layer);
  return layer;
}

}  // namespace

const QuantizedType* find_quantized_type(std::string_view name) {
  const auto* const found = std::ranges::find_if(kTypes, [&](const QuantizedType& type) {
    return std::ranges::equal(type.name, name, {}, {}, upper);
  });
  return found == kTypes.end() ? nullptr : found;
}

std::vector<std::string> quantized_types() {
  std::vector<std::string> names;
  names.reserve(kTypes.size());
  for (const QuantizedType& type : kTypes) names.emplace_back(type.name);
  return names;
}

TensorTypes::TensorTypes(const QuantizedType& type, const GgufModel& model)
    : type_(type),
      layers_(model.config.num_hidden_layers),
      tied_(std::ranges::none_of(
          model.tensors, [](const GgufTensor& tensor) { return tensor.name == "output.weight"; })),
      shared_values_(layers_ == 80 &&
                     model.config.num_attention_heads != model.config.num_key_value_heads) {}

DType TensorTypes::of(const GgufTensor& tensor) const {
  const TensorView& view = tensor.stored.view;
  const std::string_view name = tensor.name;
  if (view.shape.size() == 1) return DType::float32;
  const bool quantised =
      view.shape.size() == 2 && name.ends_with("weight") && !name.ends_with("_norm.weight");
  if (!quantised) return view.dtype;
  if (block_elements(type_.dtype) == 1) return type_.dtype;
  DType dtype = wanted(name, view.shape.back());
  if (!fits(view.shape.back(), dtype)) dtype = fallback(dtype);
  return fits(view.shape.back(), dtype) ? dtype : DType::float16;
}

DType TensorTypes::wanted(std::string_view name, std::int64_t columns) const {
  if (name == "output.weight" || (tied_ && name == "token_embd.weight")) {
    if (!fits(columns, type_.dtype) || type_.dtype == DType::q8_0) return DType::q8_0;
    return DType::q6_k;
  }
  if (has_more_bits(name)) return DType::q6_k;
  const bool value = name.ends_with(".attn_v.weight");
  return shared_values_ && value && type_.dtype == DType::q4_k ? DType::q5_k : type_.dtype;
}

// The first and the last eighth of the layers, and every third between them.
bool TensorTypes::has_more_bits(std::string_view name) const {
  if (!type_.more_bits) return false;
  if (!name.ends_with(".attn_v.weight") && !name.ends_with(".ffn_down.weight")) return false;
  const std::int64_t layer = layer_of(name);
  const std::int64_t eighth = layers_ / 8;
  return layer < eighth || layer >= 7 * layers_ / 8 || (layer - eighth) % 3 == 2;
}

}  // namespace diffllama
