#include "tokenizer/gguf_vocabulary.h"

#include <string_view>
#include <utility>

#include "diffllama/error.h"
#include "tokenizer/bpe.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/gguf_pre_rules.h"
#include "tokenizer/load_tokenizer.h"
#include "tokenizer/tokenizer_impl.h"
#include "tokenizer/unicode.h"

namespace diffllama {
namespace {

// Values of tokenizer.ggml.token_type.
constexpr std::int32_t kControl = 3;
constexpr std::int32_t kUserDefined = 4;
constexpr std::int32_t kLastType = 6;

class GgufConverter {
 public:
  GgufConverter(const GgufVocabulary& from, const std::string& where)
      : from_(from), where_(where) {}

  std::unique_ptr<Tokenizer::Impl> run() {
    if (from_.model != "gpt2") {
      refuse("model", "\"gpt2\", byte-level BPE", quote_token(from_.model));
    }
    if (!from_.token_type.empty() && from_.token_type.size() != from_.tokens.size()) {
      refuse("token_type",
             "one type for each of the " + std::to_string(from_.tokens.size()) + " tokens",
             std::to_string(from_.token_type.size()));
    }
    auto parts = std::make_unique<Tokenizer::Impl>(make_model());
    parts->pre_tokenizer = make_pre_tokenizer();
    parts->decoder = make_byte_level_decoder();
    add_tokens(*parts);
    parts->bos_token_id = add_named(from_.bos_token_id, "bos_token_id", *parts);
    parts->eos_token_id = add_named(from_.eos_token_id, "eos_token_id", *parts);
    parts->unk_token_id = add_named(from_.unknown_token_id, "unknown_token_id", *parts);
    parts->pad_token_id = add_named(from_.padding_token_id, "padding_token_id", *parts);
    parts->added_tokens.finish(nullptr, key("tokens"));
    parts->post_processor =
        make_template_processor(wrapper(from_.add_bos_token, parts->bos_token_id),
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
    return (type_of(id) == kControl || type_of(id) == kUserDefined) && !token.empty() &&
           replace_invalid_utf8(token) == token;
  }

  // Tokens are written in the byte-level alphabet; one that is not stands for its bytes.
  std::unique_ptr<const TokenizerModel> make_model() const {
    Vocabulary vocabulary(key("tokens"));
    for (std::size_t id = 0; id < from_.tokens.size(); ++id) {
      const std::string& token = from_.tokens[id];
      if (type_of(id) < 0 || type_of(id) > kLastType) {
        refuse("token_type", "types from 0 to " + std::to_string(kLastType),
               std::to_string(type_of(id)) + " for token " + std::to_string(id));
      }
      const bool valid = replace_invalid_utf8(token) == token;
      if (is_matched(id) || (valid && byte_level_bytes(token))) {
        vocabulary.add(token, static_cast<std::int64_t>(id));
        continue;
      }
      std::string spelled;
      for (const char c : token) spelled += byte_level_character(static_cast<unsigned char>(c));
      vocabulary.add(spelled, static_cast<std::int64_t>(id));
    }
    vocabulary.finish();
    auto model = std::make_unique<Bpe>(std::move(vocabulary), BpeOptions{});
    for (const std::string& merge : from_.merges) {
      const std::size_t space = merge.find(' ');
      if (space == std::string::npos || merge.find(' ', space + 1) != std::string::npos) {
        refuse("merges", "two tokens with a space between them", quote_token(merge));
      }
      const std::string_view both = merge;
      model->add_merge(both.substr(0, space), both.substr(space + 1));
    }
    return model;
  }

  std::unique_ptr<const PreTokenizer> make_pre_tokenizer() const {
    const auto pattern = gguf_pre_pattern(from_.pre);
    if (!pattern) refuse("pre", "one of " + gguf_pre_names(), quote_token(from_.pre));
    std::vector<std::unique_ptr<const PreTokenizer>> parts;
    parts.push_back(make_regex_pre_tokenizer(*pattern, key("pre")));
    parts.push_back(make_byte_level_pre_tokenizer(false, /*use_regex=*/false));
    return make_pre_tokenizer_sequence(std::move(parts));
  }

  void add_tokens(Tokenizer::Impl& parts) const {
    for (std::size_t id = 0; id < from_.tokens.size(); ++id) {
      if (!is_matched(id)) continue;
      AddedToken token;
      token.content = from_.tokens[id];
      token.normalized = false;
      token.special = type_of(id) == kControl;
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
