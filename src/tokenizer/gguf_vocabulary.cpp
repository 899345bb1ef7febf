#include "tokenizer/gguf_vocabulary.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "base/utf8.h"
#include "diffllama/error.h"
#include "tokenizer/bpe.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/gguf_pre_rules.h"
#include "tokenizer/gguf_spm.h"
#include "tokenizer/load_tokenizer.h"
#include "tokenizer/tokenizer_impl.h"

namespace diffllama {
namespace {

// Values of tokenizer.ggml.token_type.
constexpr std::int32_t kUnknown = 2;
constexpr std::int32_t kControl = 3;
constexpr std::int32_t kUserDefined = 4;
constexpr std::int32_t kLastType = 6;

class GgufConverter {
 public:
  GgufConverter(const GgufVocabulary& from, const std::string& where)
      : from_(from), where_(where), by_scores_(from.model == "llama") {}

  std::unique_ptr<Tokenizer::Impl> run() {
    if (from_.model != "gpt2" && !by_scores_) {
      refuse("model", R"("gpt2", byte-level BPE, or "llama", SentencePiece's BPE)",
             quote_token(from_.model));
    }
    check_types();
    auto parts =
        std::make_unique<Tokenizer::Impl>(by_scores_ ? make_model_by_scores() : make_model());
    bool adds_bos = by_scores_;
    if (by_scores_) {
      parts->normalizer = make_spm_normalizer(from_.add_space_prefix.value_or(true));
      parts->decoder = make_spm_decoder(from_.add_space_prefix.value_or(true));
    } else {
      const GgufPreRule rule = pre_rule();
      parts->pre_tokenizer = make_pre_tokenizer(rule);
      parts->decoder = make_byte_level_decoder();
      adds_bos = rule.adds_bos;
    }
    add_tokens(*parts);
    parts->bos_token_id = add_named(id_or(from_.bos_token_id, 1), "bos_token_id", *parts);
    parts->eos_token_id = add_named(id_or(from_.eos_token_id, 2), "eos_token_id", *parts);
    parts->unk_token_id = add_named(id_or(from_.unknown_token_id, 0), "unknown_token_id", *parts);
    parts->pad_token_id = add_named(from_.padding_token_id, "padding_token_id", *parts);
    parts->added_tokens.finish(nullptr, key("tokens"));
    parts->post_processor = make_template_processor(
        wrapper(from_.add_bos_token.value_or(adds_bos), parts->bos_token_id),
        wrapper(from_.add_eos_token, parts->eos_token_id));
    return parts;
  }

 private:
  std::string key(const std::string& name) const { return where_ + ": tokenizer.ggml." + name; }
  [[noreturn]] void refuse(const std::string& name, const std::string& expected,
                           const std::string& found) const {
    throw FormatError(key(name) + ": expected " + expected + ", got " + found);
  }
  std::int32_t type_of(std::size_t id) const {
    return from_.token_type.empty() ? 1 : from_.token_type[id];
  }
  // A token that is looked for in the text as it is.
  bool is_matched(std::size_t id) const {
    const std::string& token = from_.tokens[id];
    const std::int32_t type = type_of(id);
    return (type == kControl || type == kUserDefined || type == kUnknown) && !token.empty() &&
           replace_invalid_utf8(token) == token;
  }
  // What a `llama` vocabulary means where it names none.
  std::optional<std::int64_t> id_or(const std::optional<std::int64_t>& id,
                                    std::int64_t absent) const {
    if (id || !by_scores_ || std::cmp_greater_equal(absent, from_.tokens.size())) return id;
    return absent;
  }

  void check_types() const {
    if (!from_.token_type.empty() && from_.token_type.size() != from_.tokens.size()) {
      refuse("token_type",
             "one type for each of the " + std::to_string(from_.tokens.size()) + " tokens",
             std::to_string(from_.token_type.size()));
    }
    for (std::size_t id = 0; id < from_.tokens.size(); ++id) {
      if (type_of(id) >= 0 && type_of(id) <= kLastType) continue;
      refuse("token_type", "types from 0 to " + std::to_string(kLastType),
             std::to_string(type_of(id)) + " for token " + std::to_string(id));
    }
  }

  GgufPreRule pre_rule() const {
    const auto rule = gguf_pre_rule(from_.pre);
    if (!rule) refuse("pre", "one of " + gguf_pre_names(), quote_token(from_.pre));
    return *rule;
  }

  // Tokens are written in the byte-level alphabet; one that is not stands for its bytes. Of equal
  // tokens the last is found, of equal merges the first, as in llama.cpp.
  std::unique_ptr<const TokenizerModel> make_model() const {
    Vocabulary vocabulary(key("tokens"));
    for (std::size_t id = 0; id < from_.tokens.size(); ++id) {
      const std::string& token = from_.tokens[id];
      const bool valid = replace_invalid_utf8(token) == token;
      if (is_matched(id) || (valid && byte_level_bytes(token))) {
        vocabulary.add(token, static_cast<std::int64_t>(id));
        continue;
      }
      std::string spelled;
      for (const char c : token) spelled += byte_level_character(static_cast<unsigned char>(c));
      vocabulary.add(spelled, static_cast<std::int64_t>(id));
    }
    vocabulary.finish(/*largest_id_counts=*/true);
    BpeOptions options;
    options.ignore_merges = pre_rule().ignore_merges;
    auto model = std::make_unique<Bpe>(std::move(vocabulary), std::move(options));
    std::unordered_set<std::string_view> seen;
    for (const std::string& merge : from_.merges) {
      const std::size_t space = merge.find(' ');
      if (space == std::string::npos || merge.find(' ', space + 1) != std::string::npos) {
        refuse("merges", "two tokens with a space between them", quote_token(merge));
      }
      if (!seen.insert(merge).second) continue;
      const std::string_view both = merge;
      model->add_merge(both.substr(0, space), both.substr(space + 1));
    }
    return model;
  }

  // Two neighbours merge where together they are a token, the one of the highest score first.
  std::unique_ptr<const TokenizerModel> make_model_by_scores() const {
    Vocabulary vocabulary(key("tokens"));
    for (std::size_t id = 0; id < from_.tokens.size(); ++id) {
      vocabulary.add(from_.tokens[id], static_cast<std::int64_t>(id));
    }
    vocabulary.finish(/*largest_id_counts=*/true);
    BpeOptions options;
    if (const auto id = id_or(from_.unknown_token_id, 0)) {
      options.unk_token = std::string(vocabulary.token_of(*id).value_or(""));
    }
    options.fuse_unk = true;
    options.byte_fallback = true;
    const std::vector<std::uint32_t> ranks = ranks_of_scores();
    auto model = std::make_unique<Bpe>(std::move(vocabulary), std::move(options));
    for (std::size_t id = 0; id < from_.tokens.size(); ++id) {
      const std::string_view token = from_.tokens[id];
      if (model->vocabulary().id_of(token) != id || replace_invalid_utf8(token) != token) continue;
      for (std::size_t at = 0; at < token.size();) {
        at += code_point_at(token, at).length;
        if (at == token.size()) break;
        const auto left = model->vocabulary().id_of(token.substr(0, at));
        const auto right = left ? model->vocabulary().id_of(token.substr(at)) : std::nullopt;
        if (right) model->set_merge(*left, *right, {ranks[id], static_cast<std::uint32_t>(id)});
      }
    }
    return model;
  }

  // 0 for the highest score; equal ones have equal ranks.
  std::vector<std::uint32_t> ranks_of_scores() const {
    std::vector<float> scores = from_.scores;
    if (scores.empty()) scores.resize(from_.tokens.size());
    if (scores.size() != from_.tokens.size()) {
      refuse("scores",
             "one score for each of the " + std::to_string(from_.tokens.size()) + " tokens",
             std::to_string(scores.size()));
    }
    if (std::ranges::any_of(scores, [](float score) { return std::isnan(score); })) {
      refuse("scores", "numbers", "nan");
    }
    std::vector<float> order = scores;
    std::ranges::sort(order, std::greater<>());
    std::vector<std::uint32_t> ranks;
    for (const float score : scores) {
      const auto at = std::ranges::lower_bound(order, score, std::greater<>());
      ranks.push_back(static_cast<std::uint32_t>(at - order.begin()));
    }
    return ranks;
  }

  std::unique_ptr<const PreTokenizer> make_pre_tokenizer(const GgufPreRule& rule) const {
    std::vector<std::unique_ptr<const PreTokenizer>> parts;
    for (const std::string_view pattern : rule.patterns) {
      parts.push_back(make_regex_pre_tokenizer(pattern, key("pre")));
    }
    parts.push_back(make_byte_level_pre_tokenizer(false, /*use_regex=*/false));
    return make_pre_tokenizer_sequence(std::move(parts));
  }

  void add_tokens(Tokenizer::Impl& parts) const {
    for (std::size_t id = 0; id < from_.tokens.size(); ++id) {
      if (!is_matched(id)) continue;
      AddedToken token;
      token.content = from_.tokens[id];
      token.normalized = false;
      token.special = type_of(id) != kUserDefined;
      parts.added_tokens.add(std::move(token), parts.model->vocabulary(), key("tokens"));
    }
  }

  // bos_token_id and the like name special tokens, whatever their type.
  std::optional<std::int64_t> add_named(const std::optional<std::int64_t>& id, const char* name,
                                        Tokenizer::Impl& parts) const {
    if (!id) return std::nullopt;
    if (*id < 0 || *id >= static_cast<std::int64_t>(from_.tokens.size())) {
      refuse(name, "an id below " + std::to_string(from_.tokens.size()) + ", the number of tokens",
             std::to_string(*id));
    }
    const std::string content(parts.model->vocabulary().token_of(*id).value_or(""));
    if (!content.empty() && !parts.added_tokens.make_special(content)) {
      AddedToken token;
      token.content = content;
      token.normalized = false;
      token.special = true;
      parts.added_tokens.add(std::move(token), parts.model->vocabulary(), key(name));
    }
    return id;
  }

  static std::vector<std::int32_t> wrapper(bool wanted, const std::optional<std::int64_t>& id) {
    if (!wanted || !id) return {};
    return {static_cast<std::int32_t>(*id)};
  }

  const GgufVocabulary& from_;
  const std::string& where_;
  bool by_scores_;  // SentencePiece's BPE
};

}  // namespace

std::unique_ptr<Tokenizer::Impl> make_tokenizer_parts(const GgufVocabulary& vocabulary,
                                                      const std::string& where) {
  return GgufConverter(vocabulary, where).run();
}

Tokenizer make_tokenizer(const GgufVocabulary& vocabulary, const std::string& where) {
  return Tokenizer(make_tokenizer_parts(vocabulary, where));
}

}  // namespace diffllama
