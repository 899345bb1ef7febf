#include "tokenizer/named_tokens.h"

#include <array>
#include <charconv>
#include <map>
#include <utility>
#include <vector>

#include "base/json.h"

namespace diffllama {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// A token that is special whatever its flags say: a text, or an object with its flags. Gives its
// id; nothing for an empty one.
std::optional<std::int32_t> add_special(const JsonField& field, Tokenizer::Impl& parts) {
  AddedToken token;
  if (field.value().is_object()) {
    token = read_added_token(field);
  } else {
    token.content = field.as_string();
    token.normalized = false;
  }
  const std::string content = token.content;
  if (content.empty()) return std::nullopt;
  if (!parts.added_tokens.make_special(content)) {
    token.special = true;
    parts.added_tokens.add(std::move(token), parts.model->vocabulary(), field.where());
  }
  return parts.added_tokens.id_of(content);
}

void add_roles(const JsonField& config, Tokenizer::Impl& parts) {
  static constexpr std::array<const char*, 7> kRoles = {
      "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};
  for (const std::string_view role : kRoles) {
    const JsonField field = config.at(role.data());
    if (field.is_null()) continue;
    const auto id = add_special(field, parts);
    if (!id) continue;
    if (role == "bos_token") parts.bos_token_id = id;
    if (role == "eos_token") parts.eos_token_id = id;
    if (role == "unk_token") parts.unk_token_id = id;
    if (role == "pad_token") parts.pad_token_id = id;
    if (role == "cls_token") parts.cls_token_id = id;
  }
}

// "added_tokens_decoder" of tokenizer_config.json: tokens by id. They are in tokenizer.json too,
// unless that was edited by hand.
void add_decoder_tokens(const JsonField& decoder, Tokenizer::Impl& parts) {
  if (decoder.is_null()) return;
  if (!decoder.value().is_object()) decoder.refuse("an object of tokens by id");
  std::map<std::int64_t, std::string> keys;  // as numbers: "10" comes behind "9"
  for (const auto& [key, unused] : decoder.value().items()) {
    static_cast<void>(unused);
    std::int64_t id = 0;
    const char* const end = key.data() + key.size();
    const auto [parsed, error] = std::from_chars(key.data(), end, id);
    if (error != std::errc() || parsed != end) decoder.refuse("an object of tokens by id");
    keys[id] = key;
  }
  for (const auto& [id, key] : keys) {
    const JsonField field = decoder.at(key.c_str());
    AddedToken token = read_added_token(field);
    if (parts.added_tokens.find(token.content) != nullptr) continue;
    parts.added_tokens.add(std::move(token), parts.model->vocabulary(), field.where());
  }
}

// Members of an object in the order of the file, which json does not keep.
std::vector<std::string> member_names(std::string_view text, const char* object) {
  std::vector<std::string> names;
  const ordered_json document = ordered_json::parse(text);
  for (const auto& [name, unused] : document.at(object).items()) {
    static_cast<void>(unused);
    names.push_back(name);
  }
  return names;
}

void add_more_tokens(const JsonField& config, std::string_view text, Tokenizer::Impl& parts) {
  for (const char* name : {"additional_special_tokens", "extra_special_tokens"}) {
    const JsonField field = config.at(name);
    if (field.is_null()) continue;
    if (field.value().is_object()) {
      for (const std::string& member : member_names(text, name)) {
        add_special(field.at(member.c_str()), parts);
      }
      continue;
    }
    if (!field.value().is_array()) field.refuse("a list of tokens, or an object of them");
    for (std::size_t i = 0; i < field.array_size(); ++i) add_special(field.at(i), parts);
  }
}

// transformers writes 1e30 for no limit.
std::optional<std::int64_t> read_max_length(const JsonField& field) {
  constexpr double kMost = 1e15;
  if (field.is_null()) return std::nullopt;
  if (!field.value().is_number() || field.value().get<double>() < 1) {
    field.refuse("a number of at least 1");
  }
  if (field.value().get<double>() >= kMost) return std::nullopt;
  return field.value().get<std::int64_t>();
}

bool read_pads_left(const JsonField& field) {
  if (field.is_null() || field.value() == "right") return false;
  if (field.value() != "left") field.refuse(R"("right" or "left")");
  return true;
}

}  // namespace

AddedToken read_added_token(const JsonField& field) {
  AddedToken token;
  token.content = field.at("content").as_string();
  token.single_word = field.at("single_word").as_bool(false);
  token.lstrip = field.at("lstrip").as_bool(false);
  token.rstrip = field.at("rstrip").as_bool(false);
  token.special = field.at("special").as_bool(false);
  token.normalized = field.at("normalized").as_bool(!token.special);
  return token;
}

void add_named_tokens(const NamingFile& config, const NamingFile& map, Tokenizer::Impl& parts) {
  const auto parse = [](const NamingFile& file) {
    return file.text.empty() ? json::object() : parse_json(file.text, file.where);
  };
  const json config_value = parse(config);
  const json map_value = parse(map);
  const JsonField config_fields(config_value, config.where + ": ");
  const JsonField map_fields(map_value, map.where + ": ");
  add_decoder_tokens(config_fields.at("added_tokens_decoder"), parts);
  parts.model_max_length = read_max_length(config_fields.at("model_max_length"));
  parts.pads_left = read_pads_left(config_fields.at("padding_side"));
  add_roles(config_fields, parts);
  add_roles(map_fields, parts);
  add_more_tokens(config_fields, config.text, parts);
  add_more_tokens(map_fields, map.text, parts);
}

}  // namespace diffllama
