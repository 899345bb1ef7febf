#include <utility>

#include "base/json.h"
#include "diffllama/error.h"
#include "tokenizer/bpe.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/gguf_pre_rules.h"
#include "tokenizer/json_members.h"
#include "tokenizer/load_tokenizer.h"
#include "tokenizer/tokenizer_impl.h"

namespace diffllama {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// Values of tokenizer.ggml.token_type.
constexpr std::int32_t kNormal = 1;
constexpr std::int32_t kControl = 3;
constexpr std::int32_t kUserDefined = 4;
constexpr std::int32_t kUnused = 5;

bool has_type(const json& value, const char* type) {
  return value.is_object() && value.value("type", "") == type;
}

// The types were checked when the tokenizer was made; null stands for what is absent there.
bool flag(const json& value, const char* name, bool absent) {
  const auto found = value.find(name);
  return found != value.end() && found->is_boolean() ? found->get<bool>() : absent;
}

// The parts of a pre_tokenizer, which may be a sequence.
std::vector<json> pre_tokenizers(const json& value) {
  if (!has_type(value, "Sequence")) return {value};
  const auto parts = value.find("pretokenizers");
  if (parts == value.end() || !parts->is_array()) return {};
  return {parts->begin(), parts->end()};
}

// The value of tokenizer.ggml.pre; nothing where GGUF has none.
std::optional<std::string> pre_name(const std::vector<json>& parts) {
  const json& last = parts.back();
  if (flag(last, "add_prefix_space", true)) return std::nullopt;
  const bool splits_itself = flag(last, "use_regex", true);
  if (parts.size() == 1 && splits_itself) return "gpt-2";
  if (parts.size() != 2) return std::nullopt;
  const json& first = parts.front();
  if (has_type(first, "Digits") && flag(first, "individual_digits", false) && splits_itself) {
    return "smollm";
  }
  if (!has_type(first, "Split") || splits_itself) return std::nullopt;
  const auto pattern = first.find("pattern");
  if (pattern == first.end() || !pattern->is_object() || !pattern->contains("Regex")) {
    return std::nullopt;
  }
  const auto name = gguf_pre_name(pattern->value("Regex", ""));
  if (!name || first.value("behavior", "") != "Isolated" || flag(first, "invert", false)) {
    return std::nullopt;
  }
  return std::string(*name);
}

void list_tokens(const Tokenizer::Impl& parts, std::int64_t size, GgufVocabulary& out) {
  const std::int64_t count = std::max(parts.id_limit(), size);
  for (std::int64_t id = 0; id < count; ++id) {
    std::int32_t type = kNormal;
    std::string token;
    if (const std::string* added = parts.added_tokens.content(id)) {
      token = *added;
      type = parts.added_tokens.find(token)->special ? kControl : kUserDefined;
    } else if (const auto known = parts.model->vocabulary().token_of(id)) {
      token = *known;
    } else {
      token = "[PAD" + std::to_string(id) + "]";
      type = kUnused;
    }
    out.tokens.push_back(std::move(token));
    out.token_type.push_back(type);
  }
}

ordered_json special(const std::string& token) {
  return {{"SpecialToken", {{"id", token}, {"type_id", 0}}}};
}

// What make_template_processor is, as tokenizer.json says it.
ordered_json template_processor(const Tokenizer::Impl& parts, bool add_bos, bool add_eos) {
  ordered_json single = ordered_json::array();
  ordered_json pair = ordered_json::array();
  ordered_json tokens = ordered_json::object();
  const auto add = [&](const std::optional<std::int64_t>& id) {
    const std::string token = *parts.added_tokens.content(*id);
    single.push_back(special(token));
    pair.push_back(special(token));
    tokens[token] = {{"id", token}, {"ids", {*id}}, {"tokens", {token}}};
  };
  const auto sequence = [](const char* name, int type) {
    return ordered_json{{"Sequence", {{"id", name}, {"type_id", type}}}};
  };
  if (add_bos) add(parts.bos_token_id);
  single.push_back(sequence("A", 0));
  pair.push_back(sequence("A", 0));
  pair.push_back(sequence("B", 1));
  if (add_eos) add(parts.eos_token_id);
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"pair", pair},
          {"special_tokens", tokens}};
}

ordered_json added_tokens(const Tokenizer::Impl& parts) {
  ordered_json list = ordered_json::array();
  for (std::int64_t id = 0; id < parts.id_limit(); ++id) {
    const std::string* content = parts.added_tokens.content(id);
    if (content == nullptr) continue;
    list.push_back({{"id", id},
                    {"content", *content},
                    {"single_word", false},
                    {"lstrip", false},
                    {"rstrip", false},
                    {"normalized", false},
                    {"special", parts.added_tokens.find(*content)->special}});
  }
  return list;
}

ordered_json bpe_model(const Bpe& model) {
  const Vocabulary& vocabulary = model.vocabulary();
  ordered_json::object_t vocab;
  vocab.reserve(vocabulary.size());
  for (std::int64_t id = 0; id < vocabulary.id_limit(); ++id) {
    // Straight into the list of members: the tokens differ, and looking for one each time is slow.
    if (const auto token = vocabulary.token_of(id)) {
      vocab.std::vector<std::pair<const std::string, ordered_json>>::emplace_back(*token, id);
    }
  }
  ordered_json merges = ordered_json::array();
  for (const auto& [left, right] : model.merges()) {
    merges.push_back({*vocabulary.token_of(left), *vocabulary.token_of(right)});
  }
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", false},
          {"vocab", std::move(vocab)},
          {"merges", std::move(merges)}};
}

const Bpe& as_bpe(const Tokenizer::Impl& parts) {
  const auto* bpe = dynamic_cast<const Bpe*>(parts.model.get());
  if (bpe != nullptr) return *bpe;
  throw FormatError(parts.model->vocabulary().where() +
                    ": expected a byte-level BPE tokenizer, got another model");
}

ordered_json byte_level(bool add_prefix_space, bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

}  // namespace

GgufVocabulary to_gguf_vocabulary(const TokenizerFiles& files, std::int64_t size,
                                  const WarningHandler& warn) {
  auto parts = parse_tokenizer_parts(files, warn);
  const json rest = parse_json(split_tokenizer_json(files.tokenizer_json).rest, files.where);
  const std::vector<json> pre = pre_tokenizers(rest.value("pre_tokenizer", json()));
  if (pre.empty() || !has_type(pre.back(), "ByteLevel") ||
      !has_type(rest.value("decoder", json()), "ByteLevel")) {
    throw FormatError(files.where + ": expected a byte-level BPE tokenizer, got another kind");
  }
  GgufVocabulary out;
  out.model = "gpt2";
  const auto name = pre_name(pre);
  if (!name && warn) {
    warn(files.where +
         ": pre_tokenizer: GGUF has no name for this splitting rule; programs that do not read "
         "tokenizer.huggingface.json may split otherwise");
  }
  out.pre = name.value_or("default");
  list_tokens(*parts, size, out);
  const Vocabulary& vocabulary = parts->model->vocabulary();
  for (const auto& [left, right] : as_bpe(*parts).merges()) {
    out.merges.push_back(std::string(*vocabulary.token_of(left)) + " " +
                         std::string(*vocabulary.token_of(right)));
  }
  out.bos_token_id = parts->bos_token_id;
  out.eos_token_id = parts->eos_token_id;
  out.unknown_token_id = parts->unk_token_id;
  out.padding_token_id = parts->pad_token_id;
  const std::vector<std::int64_t> around = Tokenizer(std::move(parts)).encode("").ids;
  out.add_bos_token = !around.empty() && out.bos_token_id == around.front();
  out.add_eos_token =
      around.size() > (out.add_bos_token ? 1U : 0U) && out.eos_token_id == around.back();
  return out;
}

std::string to_tokenizer_json(const GgufVocabulary& vocabulary, const std::string& where) {
  const auto parts = make_tokenizer_parts(vocabulary, where);
  const ordered_json split = {{"type", "Split"},
                              {"pattern", {{"Regex", *gguf_pre_pattern(vocabulary.pre)}}},
                              {"behavior", "Isolated"},
                              {"invert", false}};
  const bool add_bos = vocabulary.add_bos_token && parts->bos_token_id;
  const bool add_eos = vocabulary.add_eos_token && parts->eos_token_id;
  const ordered_json document = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", added_tokens(*parts)},
      {"normalizer", nullptr},
      {"pre_tokenizer",
       {{"type", "Sequence"}, {"pretokenizers", {split, byte_level(false, false)}}}},
      {"post_processor", template_processor(*parts, add_bos, add_eos)},
      {"decoder", byte_level(true, true)},
      {"model", bpe_model(as_bpe(*parts))}};
  return document.dump(2) + "\n";
}

}  // namespace diffllama
