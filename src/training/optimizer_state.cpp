#include "training/optimizer_state.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "checkpoint/safetensors/safetensors.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

constexpr const char* kFirstMoment = "exp_avg.";
constexpr const char* kSecondMoment = "exp_avg_sq.";
constexpr const char* kMaster = "master.";

std::span<const float> slot_of(std::span<const float> flat, const ParameterSlot& slot) {
  return flat.subspan(static_cast<std::size_t>(slot.offset), static_cast<std::size_t>(slot.size));
}

void load(const SafetensorsFile& file, const std::string& name, const ParameterSlot& slot,
          std::span<float> flat) {
  const auto found = file.tensors().find(name);
  const std::string where = file.path().string() + ": tensor " + name;
  const std::string expected = "float32 " + to_string(slot.shape);
  if (found == file.tensors().end()) {
    throw FormatError(where + ": expected " + expected + ", got no such tensor");
  }
  const TensorView& view = found->second;
  if (view.dtype != DType::float32 || view.shape != slot.shape) {
    throw FormatError(where + ": expected " + expected + ", got " +
                      std::string(dtype_name(view.dtype)) + " " + to_string(view.shape));
  }
  if (!view.bytes.empty()) {
    std::memcpy(flat.data() + slot.offset, view.bytes.data(), view.bytes.size());
  }
}

constexpr std::array kPrefixes = {kFirstMoment, kSecondMoment, kMaster};

/// Tensors of parameters that the model does not have: it is another one.
void refuse_others(const SafetensorsFile& file, const ParameterLayout& layout) {
  constexpr std::size_t kListed = 5;
  std::string names;
  std::size_t others = 0;
  for (const auto& entry : file.tensors()) {
    const std::string& name = entry.first;
    const auto prefix =
        std::ranges::find_if(kPrefixes, [&](const char* each) { return name.starts_with(each); });
    const bool known = prefix != kPrefixes.end() &&
                       layout.find(name.substr(std::string_view(*prefix).size())) != nullptr;
    if (known || ++others > kListed) continue;
    names += (names.empty() ? "" : ", ") + json_excerpt(nlohmann::json(name));
  }
  if (others == 0) return;
  if (others > kListed) names += ", ... (" + std::to_string(others) + " in all)";
  throw FormatError(
      file.path().string() +
      ": expected the tensors of the parameters that are trained, got others too: " + names);
}

}  // namespace

std::vector<TensorSource> optimizer_tensors(const ParameterLayout& layout, AdamW& optimizer,
                                            std::span<const float> values) {
  std::vector<TensorSource> tensors;
  const auto add = [&](const char* prefix, const ParameterSlot& slot, std::span<const float> flat) {
    const auto bytes = std::as_bytes(slot_of(flat, slot));
    tensors.push_back(copied_tensor(prefix + slot.name, {DType::float32, slot.shape, bytes}));
  };
  for (const ParameterSlot& slot : layout.slots()) {
    add(kFirstMoment, slot, optimizer.first_moment());
    add(kSecondMoment, slot, optimizer.second_moment());
    if (!values.empty()) add(kMaster, slot, values);
  }
  return tensors;
}

void load_optimizer(const std::filesystem::path& checkpoint, const ParameterLayout& layout,
                    AdamW& optimizer, std::span<float> values) {
  const SafetensorsFile file(checkpoint / kOptimizerFile);
  const bool masters = std::ranges::any_of(
      file.tensors(), [](const auto& item) { return item.first.starts_with(kMaster); });
  std::optional<SafetensorsFile> model;
  if (!masters) model.emplace(checkpoint / "model.safetensors");
  for (const ParameterSlot& slot : layout.slots()) {
    load(file, kFirstMoment + slot.name, slot, optimizer.first_moment());
    load(file, kSecondMoment + slot.name, slot, optimizer.second_moment());
    if (masters) {
      load(file, kMaster + slot.name, slot, values);
    } else {
      load(*model, slot.name, slot, values);
    }
  }
  refuse_others(file, layout);
}

}  // namespace diffllama
