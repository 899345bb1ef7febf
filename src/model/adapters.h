#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "checkpoint/adapter/lora_adapter.h"
#include "model/parameters.h"

namespace diffllama {

/// Initial values of lora_layout(...).targets as PEFT draws them: A uniform in +-1/sqrt(in)
/// (torch's kaiming_uniform_ with a = sqrt(5)), B zero. By LoraTarget::a_name() and b_name(),
/// float32; every value is a function of seed, name and position alone.
Parameters initial_lora_parameters(const LoraLayout& layout, std::uint64_t seed);

/// Those of a saved adapter by the same names, and its whole parameters by the model's. The adapter
/// lives as long as any of them.
Parameters stored_lora_parameters(const std::shared_ptr<const LoraAdapter>& adapter);

/// `base` [out, in] with scaling B A added to its rows in float32, then rounded to `dtype`
/// (float32, float16 or bfloat16). The values of `lora` must outlive it.
Parameter merged_parameter(const Parameter& base, const LoraMatrices& lora, DType dtype);

}  // namespace diffllama
