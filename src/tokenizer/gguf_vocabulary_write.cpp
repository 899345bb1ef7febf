#include <utility>

#include "base/json.h"
#include "base/utf8.h"
#include "diffllama/error.h"
#include "tokenizer/bpe.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/gguf_pre_rules.h"
#include "tokenizer/gguf_spm.h"
#include "tokenizer/load_tokenizer.h"
#include "tokenizer/model_file.h"
#include "tokenizer/sentencepiece_file.h"
#include "tokenizer/tiktoken_file.h"
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
constexpr std::int32_t kByte = 6;

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
std::optional<std::string> pre_name(const std::vector<json>& parts, bool ignore_merges) {
  const json& last = parts.back();
  if (flag(last, "add_prefix_space", true)) return std::nullopt;
  const bool splits_itself = flag(last, "use_regex", true);
  if (splits_itself && ignore_merges) return std::nullopt;
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
  const auto name = gguf_pre_name(pattern->value("Regex", ""), ignore_merges);
  if (!name || first.value("behavior", "") != "Isolated" || flag(first, "invert", false)) {
    return std::nullopt;
  }
  return std::string(*name);
}

bool is_byte_token(std::string_view token) {
  return token.size() == 6 && token.starts_with("<0x") && token.ends_with(">");
}

// Tokens that merges make have scores that fall with the rank; for the others they change nothing.
void add_scores(const Bpe& model, GgufVocabulary& out) {
  const auto merges = model.merges();
  out.scores.assign(out.tokens.size(), -static_cast<float>(merges.size() + 1));
  std::vector<bool> made(out.tokens.size());
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    std::string token(*model.vocabulary().token_of(left));
    token += *model.vocabulary().token_of(right);
    const auto id = model.vocabulary().id_of(token);
    if (!id || made[*id]) continue;
    made[*id] = true;
    out.scores[*id] = -static_cast<float>(rank);
  }
  for (std::size_t id = 0; id < out.tokens.size(); ++id) {
    if (out.token_type[id] == kNormal && is_byte_token(out.tokens[id])) out.token_type[id] = kByte;
    if (out.token_type[id] != kNormal) out.scores[id] = 0;
  }
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
    // Of equal tokens the last is the added one; the vocabulary has the others' text.
    const std::string* added = parts.added_tokens.content(*id);
    std::string token = added != nullptr
                            ? *added
                            : std::string(parts.model->vocabulary().token_of(*id).value_or(""));
    if (tokens.contains(token) && tokens[token]["ids"] != ordered_json{*id}) {
      token.append(" ").append(std::to_string(*id));  // no more than a name, which ids go with
    }
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

ordered_json bpe_model(const Bpe& model, const std::optional<std::string>& unk_token,
                       bool byte_fallback, bool ignore_merges) {
  const Vocabulary& vocabulary = model.vocabulary();
  ordered_json::object_t vocab;
  vocab.reserve(vocabulary.size());
  for (std::int64_t id = 0; id < vocabulary.id_limit(); ++id) {
    // Straight into the list of members: the tokens differ, and looking for one each time is slow.
    const auto token = vocabulary.token_of(id);
    if (token && replace_invalid_utf8(*token) != *token) {
      throw FormatError(vocabulary.where() +
                        ": expected tokens of UTF-8 for a tokenizer.json, got " +
                        quote_token(*token));
    }
    if (token && vocabulary.id_of(*token) == id) {
      vocab.std::vector<std::pair<const std::string, ordered_json>>::emplace_back(*token, id);
    }
  }
  ordered_json merges = ordered_json::array();
  for (const auto& [left, right] : model.merges()) {
    merges.push_back({*vocabulary.token_of(left), *vocabulary.token_of(right)});
  }
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", unk_token ? ordered_json(*unk_token) : ordered_json()},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", byte_fallback},
          {"byte_fallback", byte_fallback},
          {"ignore_merges", ignore_merges},
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

// These fill in what a kind of tokenizer has besides its tokens; false for a kind without keys.

void add_merges(const Bpe& model, GgufVocabulary& out) {
  const Vocabulary& vocabulary = model.vocabulary();
  for (const auto& [left, right] : model.merges()) {
    out.merges.push_back(std::string(*vocabulary.token_of(left)) + " " +
                         std::string(*vocabulary.token_of(right)));
  }
}

bool describe_tokenizer_json(const Bpe& model, const json& document, const std::string& where,
                             const WarningHandler& warn, GgufVocabulary& out) {
  if (const std::optional<bool> space_prefix = spm_space_prefix(document)) {
    out.model = "llama";
    out.pre = "default";
    out.add_space_prefix = space_prefix;
    add_scores(model, out);
    return true;
  }
  const std::vector<json> pre = pre_tokenizers(document.value("pre_tokenizer", json()));
  if (pre.empty() || !has_type(pre.back(), "ByteLevel") ||
      !has_type(document.value("decoder", json()), "ByteLevel")) {
    return false;
  }
  out.model = "gpt2";
  const auto name =
      pre_name(pre, flag(document.value("model", json::object()), "ignore_merges", false));
  if (!name && warn) {
    warn(where +
         ": pre_tokenizer: GGUF has no name for this splitting rule; programs that do not read "
         "tokenizer.huggingface.json may split otherwise");
  }
  out.pre = name.value_or("default");
  add_merges(model, out);
  return true;
}

bool describe_sentencepiece(const TokenizerFiles& files, GgufVocabulary& out) {
  const SentencePieceFile file = parse_sentencepiece(files.model_file(), files.where);
  // Programs look for the token of each byte that no piece has.
  if (file.model_type != SentencePieceFile::ModelType::bpe || !file.byte_fallback) return false;
  out.model = "llama";
  out.pre = "default";
  out.add_space_prefix = model_file_space_prefix(files);
  out.scores.assign(out.tokens.size(), 0);
  for (std::size_t id = 0; id < file.pieces.size(); ++id) {
    const SentencePieceFile::Piece& piece = file.pieces[id];
    out.scores[id] = piece.score;
    // The values of token_type are SentencePiece's; tokens that were added have their own.
    if (out.token_type[id] == kNormal) out.token_type[id] = static_cast<std::int32_t>(piece.type);
  }
  return true;
}

bool describe(const Tokenizer::Impl& parts, const json& document, const TokenizerFiles& files,
              const WarningHandler& warn, GgufVocabulary& out) {
  const bool is_json = !files.tokenizer_json.empty();
  if (!is_json && !is_tiktoken(files.model_file())) return describe_sentencepiece(files, out);
  const auto* bpe = dynamic_cast<const Bpe*>(parts.model.get());
  if (bpe == nullptr) return false;
  if (is_json) return describe_tokenizer_json(*bpe, document, files.where, warn, out);
  out.model = "gpt2";
  out.pre = gguf_pre_name(kTiktokenPattern, /*ignore_merges=*/true).value();
  add_merges(*bpe, out);
  return true;
}

}  // namespace

GgufVocabulary to_gguf_vocabulary(const TokenizerFiles& files, std::int64_t size,
                                  const WarningHandler& warn) {
  json document;
  auto parts = parse_tokenizer_parts(files, warn, &document);
  GgufVocabulary out;
  list_tokens(*parts, size, out);
  if (!describe(*parts, document, files, warn, out)) out.model = kNoVocabulary;
  out.bos_token_id = parts->bos_token_id;
  out.eos_token_id = parts->eos_token_id;
  out.unknown_token_id = parts->unk_token_id;
  out.padding_token_id = parts->pad_token_id;
  const std::vector<std::int64_t> around = Tokenizer(std::move(parts)).encode("").ids;
  out.add_bos_token = !around.empty() && out.bos_token_id == around.front();
  out.add_eos_token =
      around.size() > (*out.add_bos_token ? 1U : 0U) && out.eos_token_id == around.back();
  return out;
}

namespace {

// The splitting rule and the byte-level alphabet.
ordered_json byte_level_sequence(const GgufPreRule& rule) {
  ordered_json steps = ordered_json::array();
  for (const std::string_view pattern : rule.patterns) {
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", pattern}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  }
  steps.push_back(byte_level(false, false));
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

}  // namespace

std::string to_tokenizer_json(const GgufVocabulary& vocabulary, const std::string& where) {
  const auto parts = make_tokenizer_parts(vocabulary, where);
  const bool adds_bos = vocabulary.model == "llama" || gguf_pre_rule(vocabulary.pre)->adds_bos;
  const bool add_bos = vocabulary.add_bos_token.value_or(adds_bos) && parts->bos_token_id;
  const bool add_eos = vocabulary.add_eos_token && parts->eos_token_id;
  ordered_json document = {{"version", "1.0"},
                           {"truncation", nullptr},
                           {"padding", nullptr},
                           {"added_tokens", added_tokens(*parts)},
                           {"normalizer", nullptr},
                           {"pre_tokenizer", nullptr},
                           {"post_processor", template_processor(*parts, add_bos, add_eos)},
                           {"decoder", byte_level(true, true)}};
  if (vocabulary.model == "llama") {
    const bool space_prefix = vocabulary.add_space_prefix.value_or(true);
    document["normalizer"] = spm_normalizer_json(space_prefix);
    document["decoder"] = spm_decoder_json(space_prefix);
    std::optional<std::string> unknown;
    if (parts->unk_token_id) {
      unknown = vocabulary.tokens.at(static_cast<std::size_t>(*parts->unk_token_id));
    }
    document["model"] = bpe_model(as_bpe(*parts), unknown, /*byte_fallback=*/true, false);
  } else {
    const GgufPreRule rule = *gguf_pre_rule(vocabulary.pre);
    document["pre_tokenizer"] = byte_level_sequence(rule);
    document["model"] = bpe_model(as_bpe(*parts), std::nullopt, false, rule.ignore_merges);
  }
  return document.dump(2) + "\n";
}

}  // namespace diffllama
