#include "tokenizer/post_processor.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "tokenizer/unicode.h"

namespace diffllama {
namespace {

class TemplateProcessing : public PostProcessor {
 public:
  // What stands in the text's place is nothing.
  using Piece = std::optional<std::vector<std::int32_t>>;
  explicit TemplateProcessing(std::vector<Piece> pieces) : pieces_(std::move(pieces)) {}

  void apply(const EncodedText& /*text*/, bool add_special_tokens,
             std::vector<EncodedToken>& tokens) const override {
    if (pieces_.size() == 1 && !pieces_[0]) return;
    std::vector<EncodedToken> result;
    result.reserve(tokens.size() + pieces_.size());
    for (const Piece& piece : pieces_) {
      if (!piece) {
        result.insert(result.end(), tokens.begin(), tokens.end());
      } else if (add_special_tokens) {
        for (const std::int32_t id : *piece) {
          EncodedToken token;
          token.id = id;
          token.special = true;
          result.push_back(token);
        }
      }
    }
    tokens = std::move(result);
  }

 private:
  std::vector<Piece> pieces_;
};

bool is_space(char32_t c) { return c == 0x120 || is_whitespace(c); }  // Ġ is the byte-level space

std::size_t leading_spaces(std::string_view token) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < token.size(); ++count) {
    const CodePoint c = code_point_at(token, at);
    if (!is_space(c.value)) break;
    at += c.length;
  }
  return count;
}

std::size_t previous_character(std::string_view text, std::size_t at) {
  do {
    --at;
  } while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U);
  return at;
}

std::size_t trailing_spaces(std::string_view token) {
  std::size_t count = 0;
  for (std::size_t at = token.size(); at > 0; ++count) {
    at = previous_character(token, at);
    if (!is_space(code_point_at(token, at).value)) break;
  }
  return count;
}

// Trims the spaces of each token off its span.
class ByteLevelProcessor : public PostProcessor {
 public:
  ByteLevelProcessor(bool add_prefix_space, bool trim_offsets)
      : add_prefix_space_(add_prefix_space), trim_offsets_(trim_offsets) {}

  void apply(const EncodedText& text, bool /*add_special_tokens*/,
             std::vector<EncodedToken>& tokens) const override {
    if (!trim_offsets_) return;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      Span& span = tokens[i].span;
      if (span.begin == span.end) continue;
      const std::string_view token = tokens[i].added
                                         ? text.text.substr(span.begin, span.end - span.begin)
                                         : text.token_of(tokens[i].id);
      // One space at the very start is the one that add_prefix_space put there.
      std::size_t leading = leading_spaces(token);
      if (leading == 1 && add_prefix_space_ && (i == 0 || span.begin == 0)) leading = 0;
      trim(text.text, leading, trailing_spaces(token), span);
    }
  }

 private:
  // Counts characters, as the library does for its offsets in characters.
  static void trim(std::string_view text, std::size_t leading, std::size_t trailing, Span& span) {
    std::size_t begin = span.begin;
    for (; leading > 0 && begin < span.end; --leading) begin += code_point_at(text, begin).length;
    begin = std::min<std::size_t>(begin, span.end);
    std::size_t end = span.end;
    for (; trailing > 0 && end > begin; --trailing) end = previous_character(text, end);
    span = {static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)};
  }

  bool add_prefix_space_, trim_offsets_;
};

class ProcessorSequence : public PostProcessor {
 public:
  explicit ProcessorSequence(std::vector<std::unique_ptr<const PostProcessor>> parts)
      : parts_(std::move(parts)) {}
  void apply(const EncodedText& text, bool add_special_tokens,
             std::vector<EncodedToken>& tokens) const override {
    for (const auto& part : parts_) part->apply(text, add_special_tokens, tokens);
  }

 private:
  std::vector<std::unique_ptr<const PostProcessor>> parts_;
};

std::vector<std::int32_t> special_token_ids(const JsonField& field, std::int64_t id_limit) {
  const JsonField list = field.at("ids");
  std::vector<std::int32_t> ids;
  for (std::size_t i = 0; i < list.array_size(); ++i) {
    ids.push_back(static_cast<std::int32_t>(list.at(i).as_index(id_limit)));
  }
  return ids;
}

std::unique_ptr<const PostProcessor> make_template(const JsonField& field, std::int64_t id_limit) {
  const JsonField single = field.at("single");
  const JsonField special_tokens = field.at("special_tokens");
  std::vector<TemplateProcessing::Piece> pieces;
  std::size_t texts = 0;
  for (std::size_t i = 0; i < single.array_size(); ++i) {
    const JsonField piece = single.at(i);
    if (!piece.at("Sequence").is_null()) {
      const JsonField id = piece.at("Sequence").at("id");
      if (id.as_string() != "A") id.refuse("A, the only sequence of a single text");
      pieces.emplace_back(std::nullopt);
      ++texts;
    } else if (!piece.at("SpecialToken").is_null()) {
      const JsonField id = piece.at("SpecialToken").at("id");
      const std::string name = id.as_string();
      if (special_tokens.at(name.c_str()).is_null()) id.refuse("a name among special_tokens");
      pieces.emplace_back(special_token_ids(special_tokens.at(name.c_str()), id_limit));
    } else {
      piece.refuse("a Sequence or a SpecialToken");
    }
  }
  if (texts != 1) single.refuse("the Sequence A once");
  return std::make_unique<TemplateProcessing>(std::move(pieces));
}

}  // namespace

std::unique_ptr<const PostProcessor> make_post_processor(const JsonField& field,
                                                         std::int64_t id_limit) {
  if (field.is_null()) return nullptr;
  const std::string type = field.type();
  if (type == "TemplateProcessing") return make_template(field, id_limit);
  if (type == "ByteLevel") {
    return std::make_unique<ByteLevelProcessor>(field.at("add_prefix_space").as_bool(),
                                                field.at("trim_offsets").as_bool());
  }
  if (type == "Sequence") {
    const JsonField list = field.at("processors");
    std::vector<std::unique_ptr<const PostProcessor>> parts;
    for (std::size_t i = 0; i < list.array_size(); ++i) {
      if (list.at(i).is_null()) list.at(i).refuse("a post-processor");
      parts.push_back(make_post_processor(list.at(i), id_limit));
    }
    return std::make_unique<ProcessorSequence>(std::move(parts));
  }
  field.at("type").refuse("one of the post-processors TemplateProcessing, ByteLevel, Sequence");
}

std::unique_ptr<const PostProcessor> make_template_processor(std::vector<std::int32_t> before,
                                                             std::vector<std::int32_t> after) {
  std::vector<TemplateProcessing::Piece> pieces;
  if (!before.empty()) pieces.emplace_back(std::move(before));
  pieces.emplace_back(std::nullopt);
  if (!after.empty()) pieces.emplace_back(std::move(after));
  return std::make_unique<TemplateProcessing>(std::move(pieces));
}

}  // namespace diffllama
