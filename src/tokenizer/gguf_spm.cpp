#include "tokenizer/gguf_spm.h"

#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace diffllama {
namespace {

using nlohmann::ordered_json;

constexpr const char* kBlank = "\u2581";

ordered_json replace(const char* from, const char* to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

bool is_type(const nlohmann::json& value, const char* type) {
  const auto found = value.is_object() ? value.find("type") : value.end();
  return found != value.end() && *found == type;
}

// A member that is a text or a truth; `absent` for all others.
template <class T>
T member(const nlohmann::json& value, const char* name, T absent) {
  const auto found = value.find(name);
  if (found == value.end()) return absent;
  const bool fits = std::is_same_v<T, bool> ? found->is_boolean() : found->is_string();
  return fits ? found->template get<T>() : absent;
}

// The parts of a sequence; a single part; none for null.
std::vector<nlohmann::json> steps_of(const nlohmann::json& parent, const char* name,
                                     const char* list) {
  const auto found = parent.is_object() ? parent.find(name) : parent.end();
  if (found == parent.end() || found->is_null()) return {};
  if (!is_type(*found, "Sequence")) return {*found};
  const auto parts = found->find(list);
  if (parts == found->end() || !parts->is_array()) return {};
  return {parts->begin(), parts->end()};
}

}  // namespace

std::optional<bool> spm_space_prefix(const nlohmann::json& tokenizer) {
  const auto model = tokenizer.find("model");
  if (model == tokenizer.end() || !model->is_object()) return std::nullopt;
  const auto fallback = model->find("byte_fallback");
  if (fallback == model->end() || !fallback->is_boolean() || !fallback->get<bool>()) {
    return std::nullopt;
  }
  const auto normalizers = steps_of(tokenizer, "normalizer", "normalizers");
  const auto splitters = steps_of(tokenizer, "pre_tokenizer", "pretokenizers");
  if (splitters.empty()) {
    const nlohmann::json blanks = replace(" ", kBlank);
    const bool prefix = normalizers.size() == 2 && is_type(normalizers.front(), "Prepend") &&
                        member<std::string>(normalizers.front(), "prepend", "") == kBlank;
    if (normalizers.size() != (prefix ? 2U : 1U) || normalizers.back() != blanks) {
      return std::nullopt;
    }
    return prefix;
  }
  const nlohmann::json& metaspace = splitters.front();
  if (splitters.size() != 1 || !normalizers.empty() || !is_type(metaspace, "Metaspace") ||
      member<std::string>(metaspace, "replacement", "") != kBlank ||
      member(metaspace, "split", true)) {
    return std::nullopt;
  }
  return member<std::string>(metaspace, "prepend_scheme", "always") != "never";
}

ordered_json spm_normalizer_json(bool space_prefix) {
  ordered_json steps = ordered_json::array();
  if (space_prefix) steps.push_back({{"type", "Prepend"}, {"prepend", kBlank}});
  steps.push_back(replace(" ", kBlank));
  return {{"type", "Sequence"}, {"normalizers", std::move(steps)}};
}

ordered_json spm_decoder_json(bool space_prefix) {
  ordered_json steps = ordered_json::array();
  steps.push_back(replace(kBlank, " "));
  steps.push_back({{"type", "ByteFallback"}});
  steps.push_back({{"type", "Fuse"}});
  if (space_prefix) {
    steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1U}, {"stop", 0U}});
  }
  return {{"type", "Sequence"}, {"decoders", std::move(steps)}};
}

std::unique_ptr<const Normalizer> make_spm_normalizer(bool space_prefix) {
  const nlohmann::json value = spm_normalizer_json(space_prefix);
  return make_normalizer(JsonField(value, "normalizer"));
}

std::unique_ptr<const Decoder> make_spm_decoder(bool space_prefix) {
  const nlohmann::json value = spm_decoder_json(space_prefix);
  return make_decoder(JsonField(value, "decoder"));
}

}  // namespace diffllama
