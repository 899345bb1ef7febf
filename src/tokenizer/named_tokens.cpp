#include "tokenizer/named_tokens.h"

#include <array>
#include <charconv>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/json.h"
#include "diffllama/error.h"

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

constexpr std::array<const char*, 7> kRoles = {"bos_token", "eos_token", "unk_token", "sep_token",
                                               "pad_token", "cls_token", "mask_token"};
constexpr std::array<const char*, 2> kMoreSpecial = {"additional_special_tokens",
                                                     "extra_special_tokens"};

void add_roles(const JsonField& config, Tokenizer::Impl& parts) {
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

// A token with the id that a file states, or with the next one. A known token stays as it is.
void add_stated(AddedToken token, std::int64_t id, bool keep_ids, const std::string& where,
                Tokenizer::Impl& parts) {
  if (parts.added_tokens.find(token.content) != nullptr) return;
  const auto stated = keep_ids ? std::optional(static_cast<std::int32_t>(id)) : std::nullopt;
  parts.added_tokens.add(std::move(token), parts.model->vocabulary(), where, stated);
}

// "added_tokens_decoder" of tokenizer_config.json: tokens by id. They are in tokenizer.json too,
// unless that was edited by hand.
void add_decoder_tokens(const JsonField& decoder, bool keep_ids, Tokenizer::Impl& parts) {
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
    if (keep_ids && (id < 0 || id >= kTokenIdLimit) &&
        parts.added_tokens.find(token.content) == nullptr) {
      decoder.refuse("ids from 0 to " + std::to_string(kTokenIdLimit - 1));
    }
    add_stated(std::move(token), id, keep_ids, field.where(), parts);
  }
}

std::string content_of(const JsonField& token) {
  const bool is_object = token.value().is_object();
  const JsonField content = is_object ? token.at("content") : token;
  return content.value().is_string() ? content.as_string() : "";
}

// What a file names as special; what is no token there is refused where it is added.
void collect_special(const JsonField& file, std::set<std::string>& names) {
  for (const char* role : kRoles) names.insert(content_of(file.at(role)));
  for (const char* name : kMoreSpecial) {
    const JsonField more = file.at(name);
    if (!more.value().is_object() && !more.value().is_array()) continue;
    for (const json& token : more.value()) names.insert(content_of(JsonField(token, name)));
  }
}

// "added_tokens.json": ids by token.
void add_listed_tokens(const TokenizerFiles& files, const std::set<std::string>& special,
                       bool keep_ids, Tokenizer::Impl& parts) {
  const std::string where = files.beside("added_tokens.json");
  const json value = parse_json(files.added_tokens, where);
  if (!value.is_object()) {
    throw FormatError(where + ": expected an object of ids by token, got " + json_excerpt(value));
  }
  const JsonField list(value, where + ": ");
  std::multimap<std::int64_t, std::string> tokens;
  for (const auto& [content, id] : value.items()) {
    static_cast<void>(id);
    tokens.emplace(list.at(content.c_str()).as_index(kTokenIdLimit), content);
  }
  for (const auto& [id, content] : tokens) {
    AddedToken token;
    token.content = content;
    token.special = special.contains(content);
    // A slow tokenizer looks for them in the text as it is.
    token.normalized = !token.special && !keep_ids;
    add_stated(std::move(token), id, keep_ids, where, parts);
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
  for (const char* name : kMoreSpecial) {
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

void add_named_tokens(const TokenizerFiles& files, bool keep_ids, Tokenizer::Impl& parts) {
  const auto parse = [](const std::string& text, const std::string& where) {
    return text.empty() ? json::object() : parse_json(text, where);
  };
  const std::string config_where = files.beside("tokenizer_config.json");
  const std::string map_where = files.beside("special_tokens_map.json");
  const json config_value = parse(files.tokenizer_config, config_where);
  const json map_value = parse(files.special_tokens_map, map_where);
  const JsonField config(config_value, config_where + ": ");
  const JsonField map(map_value, map_where + ": ");
  const JsonField decoder = config.at("added_tokens_decoder");
  add_decoder_tokens(decoder, keep_ids, parts);
  if (decoder.is_null() && !files.added_tokens.empty()) {
    std::set<std::string> special;
    collect_special(config, special);
    collect_special(map, special);
    add_listed_tokens(files, special, keep_ids, parts);
  }
  parts.model_max_length = read_max_length(config.at("model_max_length"));
  parts.pads_left = read_pads_left(config.at("padding_side"));
  add_roles(config, parts);
  add_roles(map, parts);
  add_more_tokens(config, files.tokenizer_config, parts);
  add_more_tokens(map, files.special_tokens_map, parts);
}

}  // namespace diffllama
