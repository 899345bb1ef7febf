#include "tokenizer/model_file.h"

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "diffllama/error.h"
#include "tokenizer/named_tokens.h"
#include "tokenizer/sentencepiece_file.h"
#include "tokenizer/sentencepiece_model.h"
#include "tokenizer/tiktoken_file.h"
#include "tokenizer/tokenizer_impl.h"

namespace diffllama {
namespace {

using nlohmann::json;

constexpr const char* kBlank = "\u2581";

AddedToken added_token(std::string content, bool special) {
  AddedToken token;
  token.content = std::move(content);
  token.normalized = false;
  token.special = special;
  return token;
}

class ModelFileReader {
 public:
  explicit ModelFileReader(const TokenizerFiles& files)
      : bytes_(files.model_file()),
        files_(files),
        config_(files.tokenizer_config.empty()
                    ? json::object()
                    : parse_json(files.tokenizer_config, files.beside("tokenizer_config.json"))),
        fields_(config_, files.beside("tokenizer_config.json") + ": ") {}

  std::unique_ptr<Tokenizer::Impl> run() {
    auto parts = is_tiktoken(bytes_) ? tiktoken() : sentencepiece();
    add_named_tokens(files_, /*keep_ids=*/true, *parts);
    parts->added_tokens.finish(parts->normalizer.get(), files_.where);
    const auto around = [](bool wanted, const std::optional<std::int64_t>& id) {
      std::vector<std::int32_t> ids;
      if (wanted && id) ids.push_back(static_cast<std::int32_t>(*id));
      return ids;
    };
    parts->post_processor = make_template_processor(
        around(flag("add_bos_token", !is_tiktoken(bytes_)), parts->bos_token_id),
        around(flag("add_eos_token", false), parts->eos_token_id));
    return parts;
  }

  // Null is false, as it is to Python; only an absent field has a default.
  bool space_prefix() const { return flag("add_prefix_space", true); }

 private:
  bool flag(const char* name, bool absent) const {
    return fields_.at(name).as_bool(absent && !config_.contains(name));
  }

  std::unique_ptr<Tokenizer::Impl> sentencepiece() const {
    const SentencePieceFile file = parse_sentencepiece(bytes_, files_.where);
    auto parts = std::make_unique<Tokenizer::Impl>(
        std::make_unique<SentencePieceModel>(file, bytes_, files_.where));
    for (const SentencePieceFile::Piece& piece : file.pieces) {
      const bool control = piece.type == SentencePieceFile::Type::control;
      if (!control && piece.type != SentencePieceFile::Type::user_defined) continue;
      parts->added_tokens.add(added_token(piece.text, control), parts->model->vocabulary(),
                              files_.where);
    }
    // LlamaTokenizer's defaults.
    add_default("<unk>", parts->unk_token_id, *parts);
    add_default("<s>", parts->bos_token_id, *parts);
    add_default("</s>", parts->eos_token_id, *parts);
    const bool prefix = space_prefix();
    if (fields_.at("legacy").as_bool(true)) {
      json normalizers = json::array();
      if (prefix) normalizers.push_back({{"type", "Prepend"}, {"prepend", kBlank}});
      normalizers.push_back(
          {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kBlank}});
      const json sequence = {{"type", "Sequence"}, {"normalizers", std::move(normalizers)}};
      parts->normalizer = make_normalizer(JsonField(sequence, "normalizer"));
    } else {
      const json metaspace = {{"type", "Metaspace"},
                              {"replacement", kBlank},
                              {"prepend_scheme", prefix ? "first" : "never"},
                              {"split", false}};
      parts->pre_tokenizer = make_pre_tokenizer(JsonField(metaspace, "pre_tokenizer"));
    }
    json decoders = json::array();
    decoders.push_back({{"type", "Replace"}, {"pattern", {{"String", kBlank}}}, {"content", " "}});
    decoders.push_back({{"type", "ByteFallback"}});
    decoders.push_back({{"type", "Fuse"}});
    if (prefix) {
      decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1U}, {"stop", 0U}});
    }
    const json sequence = {{"type", "Sequence"}, {"decoders", std::move(decoders)}};
    parts->decoder = make_decoder(JsonField(sequence, "decoder"));
    return parts;
  }

  void add_default(const char* token, std::optional<std::int64_t>& role,
                   Tokenizer::Impl& parts) const {
    if (!parts.model->vocabulary().id_of(token)) return;
    role =
        parts.added_tokens.add(added_token(token, true), parts.model->vocabulary(), files_.where);
  }

  std::unique_ptr<Tokenizer::Impl> tiktoken() const {
    auto parts = std::make_unique<Tokenizer::Impl>(make_tiktoken_model(bytes_, files_.where));
    std::vector<std::unique_ptr<const PreTokenizer>> cuts;
    cuts.push_back(make_regex_pre_tokenizer(kTiktokenPattern, files_.where));
    cuts.push_back(make_byte_level_pre_tokenizer(false, /*use_regex=*/false));
    parts->pre_tokenizer = make_pre_tokenizer_sequence(std::move(cuts));
    parts->decoder = make_byte_level_decoder();
    fill_reserved(*parts);
    return parts;
  }

  // New tokens get the next free ids, so that gaps between those stated have to be filled.
  void fill_reserved(Tokenizer::Impl& parts) const {
    const JsonField stated = fields_.at("added_tokens_decoder");
    if (stated.is_null()) return;
    if (!stated.value().is_object()) stated.refuse("an object of tokens by id");
    std::int64_t last = -1;
    for (const auto& [key, unused] : stated.value().items()) {
      static_cast<void>(unused);
      last = std::max(last, number(stated, key));
    }
    const auto base = static_cast<std::int64_t>(parts.model->vocabulary().size());
    for (std::int64_t id = base; id <= last; ++id) {
      const std::string key = std::to_string(id);
      const JsonField token = stated.at(key.c_str());
      const std::string content =
          token.is_null() ? "<|reserved_token_" + key + "|>" : token.at("content").as_string();
      parts.added_tokens.add(added_token(content, true), parts.model->vocabulary(), token.where());
    }
  }

  static std::int64_t number(const JsonField& field, const std::string& key) {
    std::int64_t id = 0;
    const char* const end = key.data() + key.size();
    const auto [parsed, error] = std::from_chars(key.data(), end, id);
    if (error != std::errc() || parsed != end || id < 0 || id >= kTokenIdLimit) {
      field.refuse("an object of tokens by id");
    }
    return id;
  }

  std::string_view bytes_;
  const TokenizerFiles& files_;
  json config_;
  JsonField fields_;
};

}  // namespace

std::unique_ptr<Tokenizer::Impl> parse_model_file(const TokenizerFiles& files) {
  return ModelFileReader(files).run();
}

bool model_file_space_prefix(const TokenizerFiles& files) {
  return ModelFileReader(files).space_prefix();
}

}  // namespace diffllama
