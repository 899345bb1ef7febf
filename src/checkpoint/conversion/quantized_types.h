#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "checkpoint/gguf/gguf_model.h"

namespace diffllama {

/// What `quantize` can make of a model, named as llama.cpp names it.
struct QuantizedType {
  std::string_view name;    // "Q4_K_M"
  std::uint32_t file_type;  // general.file_type
  DType dtype;              // of most matrices
  bool more_bits = false;   // _M: attn_v and ffn_down of some layers are q6_k
};

/// Upper or lower case; null for a name that is not known.
const QuantizedType* find_quantized_type(std::string_view name);

/// Which type each tensor of a model gets, by llama.cpp's rules.
class TensorTypes {
 public:
  TensorTypes(const QuantizedType& type, const GgufModel& model);
  /// Only matrices of weights change their type. output.weight, or token_embd.weight when it stands
  /// for both, is q6_k beside all block types but q8_0. Where rows are no multiple of the block:
  /// q8_0 for output, else q5_0 for q4_k, q5_1 for q5_k, q8_0 for q6_k, and float16 where that does
  /// not fit either.
  DType of(const GgufTensor& tensor) const;

 private:
  DType wanted(std::string_view name, std::int64_t columns) const;
  bool has_more_bits(std::string_view name) const;

  const QuantizedType& type_;
  std::int64_t layers_;
  bool tied_;
  bool shared_values_;  // 80 layers and grouped heads: Llama 70 B, whose attn_v is small
};

}  // namespace diffllama
