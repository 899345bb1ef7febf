#include "tokenizer/post_processor.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/utf8.h"
#include "diffllama/error.h"
#include "tokenizer/unicode.h"

namespace diffllama {
namespace {

EncodedToken special_token(std::int32_t id, std::int32_t type_id) {
  EncodedToken token;
  token.id = id;
  token.type_id = type_id;
  token.special = true;
  return token;
}

void set_type_id(EncodedSequence& sequence, std::int32_t type_id) {
  for (EncodedToken& token : sequence.tokens) token.type_id = type_id;
}

/// A part of a template: a text, or special tokens.
struct TemplatePiece {
  static constexpr int kSpecial = -1;
  int sequence = kSpecial;  // 0: A, 1: B
  std::vector<std::int32_t> ids;
  std::int32_t type_id = 0;
};
using Template = std::vector<TemplatePiece>;

class TemplateProcessing : public PostProcessor {
 public:
  TemplateProcessing(Template single, Template pair, std::string where)
      : single_(std::move(single)), pair_(std::move(pair)), where_(std::move(where)) {}

  void apply(const TokenOf& /*token_of*/, bool add_special_tokens,
             std::vector<EncodedSequence>& sequences) const override {
    if (sequences.empty() || sequences.size() > 2) {
      throw FormatError(where_ + ": expected one text or a pair to put into the template, got " +
                        std::to_string(sequences.size()) + " sequences");
    }
    std::vector<EncodedSequence> result;
    for (const TemplatePiece& piece : sequences.size() == 1 ? single_ : pair_) {
      if (piece.sequence != TemplatePiece::kSpecial) {
        // Each stands in a template once.
        result.push_back(std::move(sequences[static_cast<std::size_t>(piece.sequence)]));
        set_type_id(result.back(), piece.type_id);
      } else if (add_special_tokens) {
        EncodedSequence& added = result.emplace_back();
        for (const std::int32_t id : piece.ids) {
          added.tokens.push_back(special_token(id, piece.type_id));
        }
      }
    }
    sequences = std::move(result);
  }

  std::size_t added_tokens(bool pair) const override {
    std::size_t count = 0;
    for (const TemplatePiece& piece : pair ? pair_ : single_) count += piece.ids.size();
    return count;
  }

 private:
  Template single_, pair_;
  std::string where_;
};

bool is_space(char32_t c) { return c == 0x120 || is_whitespace(c); }  // Ġ is the byte-level space

std::size_t previous_character(std::string_view text, std::size_t at) {
  do {
    --at;
  } while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U);
  return at;
}

// Counts characters, as the library does for its offsets in characters.
void trim_span(std::string_view text, OuterSpaces spaces, Span& span) {
  std::size_t begin = span.begin;
  for (; spaces.leading > 0 && begin < span.end; --spaces.leading) {
    begin += code_point_at(text, begin).length;
  }
  begin = std::min<std::size_t>(begin, span.end);
  // A normalizer may have made more blanks than there are characters before the end of the span;
  // then the library leaves it.
  std::size_t end = span.end;
  for (; spaces.trailing > 0 && end > 0; --spaces.trailing) end = previous_character(text, end);
  end = spaces.trailing > 0 ? span.end : std::max(begin, end);
  span = {static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)};
}

// Trims the spaces of each token off its span.
void trim_offsets(const TokenOf& token_of, bool add_prefix_space, EncodedSequence& sequence) {
  for (std::size_t i = 0; i < sequence.tokens.size(); ++i) {
    EncodedToken& encoded = sequence.tokens[i];
    Span& span = encoded.span;
    if (span.begin == span.end) continue;
    OuterSpaces spaces = encoded.spaces ? *encoded.spaces : outer_spaces(token_of(encoded.id));
    // One space at the very start is the one that add_prefix_space put there.
    if (spaces.leading == 1 && add_prefix_space && (i == 0 || span.begin == 0)) spaces.leading = 0;
    trim_span(sequence.text, spaces, span);
  }
}

class ByteLevelProcessor : public PostProcessor {
 public:
  ByteLevelProcessor(bool add_prefix_space, bool trims)
      : add_prefix_space_(add_prefix_space), trims_(trims) {}
  void apply(const TokenOf& token_of, bool /*add_special_tokens*/,
             std::vector<EncodedSequence>& sequences) const override {
    if (!trims_) return;
    for (EncodedSequence& sequence : sequences) {
      trim_offsets(token_of, add_prefix_space_, sequence);
    }
  }
  std::size_t added_tokens(bool /*pair*/) const override { return 0; }

 private:
  bool add_prefix_space_, trims_;
};

/// BERT's [CLS] A [SEP] B [SEP] and RoBERTa's <s> A </s></s> B </s>.
class ClassifierProcessor : public PostProcessor {
 public:
  struct Options {
    std::int32_t cls, sep;
    bool is_roberta = false;
    bool trims_offsets = false;     // RoBERTa's
    bool add_prefix_space = false;  // RoBERTa's
  };
  explicit ClassifierProcessor(Options options) : options_(options) {}

  void apply(const TokenOf& token_of, bool add_special_tokens,
             std::vector<EncodedSequence>& sequences) const override {
    for (EncodedSequence& sequence : sequences) {
      if (options_.trims_offsets) trim_offsets(token_of, options_.add_prefix_space, sequence);
      if (options_.is_roberta) set_type_id(sequence, 0);
    }
    if (!add_special_tokens) return;
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      const std::int32_t type_id = i == 0 || options_.is_roberta ? 0 : 1;
      std::vector<EncodedToken>& tokens = sequences[i].tokens;
      if (i == 0 || options_.is_roberta) {
        const std::int32_t first = i == 0 ? options_.cls : options_.sep;
        tokens.insert(tokens.begin(), special_token(first, type_id));
      }
      tokens.push_back(special_token(options_.sep, type_id));
    }
  }
  std::size_t added_tokens(bool pair) const override {
    if (!pair) return 2;
    return options_.is_roberta ? 4 : 3;
  }

 private:
  Options options_;
};

class ProcessorSequence : public PostProcessor {
 public:
  explicit ProcessorSequence(std::vector<std::unique_ptr<const PostProcessor>> parts)
      : parts_(std::move(parts)) {}
  void apply(const TokenOf& token_of, bool add_special_tokens,
             std::vector<EncodedSequence>& sequences) const override {
    for (const auto& part : parts_) part->apply(token_of, add_special_tokens, sequences);
  }
  std::size_t added_tokens(bool pair) const override {
    std::size_t count = 0;
    for (const auto& part : parts_) count += part->added_tokens(pair);
    return count;
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

std::int32_t type_id_of(const JsonField& piece) {
  constexpr std::int64_t kMost = std::int64_t{1} << 31;
  const JsonField field = piece.at("type_id");
  return field.is_null() ? 0 : static_cast<std::int32_t>(field.as_index(kMost));
}

// `texts` is the number of sequences that the template is for; each must stand in it once.
Template read_template(const JsonField& list, const JsonField& special_tokens, int texts,
                       std::int64_t id_limit) {
  Template pieces;
  std::array<int, 2> uses = {0, 0};
  for (std::size_t i = 0; i < list.array_size(); ++i) {
    const JsonField piece = list.at(i);
    if (const JsonField sequence = piece.at("Sequence"); !sequence.is_null()) {
      const JsonField id = sequence.at("id");
      const std::string name = id.as_string();
      if (name != "A" && (name != "B" || texts == 1)) {
        id.refuse(texts == 1 ? "A, the only sequence of a single text" : "A or B");
      }
      const int index = name == "A" ? 0 : 1;
      ++uses[static_cast<std::size_t>(index)];
      pieces.push_back({index, {}, type_id_of(sequence)});
    } else if (const JsonField token = piece.at("SpecialToken"); !token.is_null()) {
      const JsonField id = token.at("id");
      const std::string name = id.as_string();
      if (special_tokens.at(name.c_str()).is_null()) id.refuse("a name among special_tokens");
      pieces.push_back({TemplatePiece::kSpecial,
                        special_token_ids(special_tokens.at(name.c_str()), id_limit),
                        type_id_of(token)});
    } else {
      piece.refuse("a Sequence or a SpecialToken");
    }
  }
  if (texts == 1 && uses[0] != 1) list.refuse("the Sequence A once");
  if (texts == 2 && (uses[0] != 1 || uses[1] != 1)) list.refuse("the Sequences A and B once each");
  return pieces;
}

std::unique_ptr<const PostProcessor> make_template(const JsonField& field, std::int64_t id_limit) {
  const JsonField special_tokens = field.at("special_tokens");
  Template single = read_template(field.at("single"), special_tokens, 1, id_limit);
  const JsonField pair_field = field.at("pair");
  Template pair = {{0, {}, 0}, {1, {}, 1}};
  if (!pair_field.is_null()) pair = read_template(pair_field, special_tokens, 2, id_limit);
  return std::make_unique<TemplateProcessing>(std::move(single), std::move(pair), field.where());
}

// ["[SEP]", 102]
std::int32_t token_and_id(const JsonField& field, std::int64_t id_limit) {
  if (field.array_size() != 2) field.refuse("a token and its id");
  static_cast<void>(field.at(std::size_t{0}).as_string());
  return static_cast<std::int32_t>(field.at(std::size_t{1}).as_index(id_limit));
}

std::unique_ptr<const PostProcessor> make_classifier_processor(const JsonField& field,
                                                               bool is_roberta,
                                                               std::int64_t id_limit) {
  ClassifierProcessor::Options options{};
  options.cls = token_and_id(field.at("cls"), id_limit);
  options.sep = token_and_id(field.at("sep"), id_limit);
  options.is_roberta = is_roberta;
  if (is_roberta) {
    options.trims_offsets = field.at("trim_offsets").as_bool();
    options.add_prefix_space = field.at("add_prefix_space").as_bool();
  }
  return std::make_unique<ClassifierProcessor>(options);
}

}  // namespace

OuterSpaces outer_spaces(std::string_view token) {
  OuterSpaces spaces;
  for (std::size_t at = 0; at < token.size(); ++spaces.leading) {
    const CodePoint c = code_point_at(token, at);
    if (!is_space(c.value)) break;
    at += c.length;
  }
  for (std::size_t at = token.size(); at > 0; ++spaces.trailing) {
    at = previous_character(token, at);
    if (!is_space(code_point_at(token, at).value)) break;
  }
  return spaces;
}

std::unique_ptr<const PostProcessor> make_post_processor(const JsonField& field,
                                                         std::int64_t id_limit) {
  if (field.is_null()) return nullptr;
  const std::string type = field.type();
  if (type == "TemplateProcessing") return make_template(field, id_limit);
  if (type == "BertProcessing") return make_classifier_processor(field, false, id_limit);
  if (type == "RobertaProcessing") return make_classifier_processor(field, true, id_limit);
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
  field.at("type").refuse(
      "one of the post-processors TemplateProcessing, BertProcessing, RobertaProcessing, "
      "ByteLevel, Sequence");
}

std::unique_ptr<const PostProcessor> make_template_processor(std::vector<std::int32_t> before,
                                                             std::vector<std::int32_t> after) {
  const auto around = [&](int sequence, Template& pieces) {
    if (!before.empty()) pieces.push_back({TemplatePiece::kSpecial, before, sequence});
    pieces.push_back({sequence, {}, sequence});
    if (!after.empty()) pieces.push_back({TemplatePiece::kSpecial, after, sequence});
  };
  Template single;
  Template pair;
  around(0, single);
  around(0, pair);
  around(1, pair);
  return std::make_unique<TemplateProcessing>(std::move(single), std::move(pair), "template");
}

}  // namespace diffllama
