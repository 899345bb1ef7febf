#include "tokenizer/model_json.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "tokenizer/bpe.h"
#include "tokenizer/unigram.h"
#include "tokenizer/word_level.h"
#include "tokenizer/word_piece.h"

namespace diffllama {
namespace {

// With ids by token.
Vocabulary take_vocabulary(VocabReader& vocab) {
  vocab.check_kind(/*scores=*/false);
  return vocab.take_vocabulary();
}

std::unique_ptr<const TokenizerModel> make_bpe(const JsonField& field, ModelLists& lists) {
  if (!lists.vocab.is_there() || !lists.merges.is_there()) field.refuse("a vocab and merges");
  const JsonField dropout = field.at("dropout");
  if (!dropout.is_null() && dropout.value() != 0.0) {
    dropout.refuse("no dropout, which would make ids random");
  }
  BpeOptions options;
  if (const JsonField unk = field.at("unk_token"); !unk.is_null()) {
    options.unk_token = unk.as_string();
  }
  options.continuing_subword_prefix = field.at("continuing_subword_prefix").as_string("");
  options.end_of_word_suffix = field.at("end_of_word_suffix").as_string("");
  options.fuse_unk = field.at("fuse_unk").as_bool(false);
  options.byte_fallback = field.at("byte_fallback").as_bool(false);
  options.ignore_merges = field.at("ignore_merges").as_bool(false);
  auto model = std::make_unique<Bpe>(take_vocabulary(lists.vocab), std::move(options));
  lists.merges.for_each(
      [&](std::string_view left, std::string_view right) { model->add_merge(left, right); });
  return model;
}

std::unique_ptr<const TokenizerModel> make_unigram(const JsonField& field, ModelLists& lists) {
  if (!lists.vocab.is_there()) field.refuse("a vocab");
  lists.vocab.check_kind(/*scores=*/true);
  UnigramOptions options;
  if (const JsonField unk = field.at("unk_id"); !unk.is_null()) {
    options.unk_id = static_cast<std::uint32_t>(unk.as_index(kTokenIdLimit));
  }
  options.byte_fallback = field.at("byte_fallback").as_bool(false);
  return std::make_unique<Unigram>(lists.vocab.take_vocabulary(), lists.vocab.take_scores(),
                                   options);
}

std::unique_ptr<const TokenizerModel> make_word_piece(const JsonField& field, ModelLists& lists) {
  if (!lists.vocab.is_there()) field.refuse("a vocab");
  WordPieceOptions options;
  options.unk_token = field.at("unk_token").as_string(options.unk_token);
  options.continuing_subword_prefix =
      field.at("continuing_subword_prefix").as_string(options.continuing_subword_prefix);
  if (const JsonField most = field.at("max_input_chars_per_word"); !most.is_null()) {
    constexpr std::int64_t kLimit = std::int64_t{1} << 53;
    options.max_input_chars_per_word = static_cast<std::uint64_t>(most.as_index(kLimit));
  }
  return std::make_unique<WordPiece>(take_vocabulary(lists.vocab), std::move(options));
}

std::unique_ptr<const TokenizerModel> make_word_level(const JsonField& field, ModelLists& lists) {
  if (!lists.vocab.is_there()) field.refuse("a vocab");
  return std::make_unique<WordLevel>(take_vocabulary(lists.vocab),
                                     field.at("unk_token").as_string("<unk>"));
}

// Old files lack the type.
std::string type_of(const JsonField& field, const ModelLists& lists) {
  const JsonField type = field.at("type");
  if (!type.is_null()) return type.as_string();
  if (lists.vocab.is_there() && !lists.merges.is_there()) {
    if (lists.vocab.has_scores()) return "Unigram";
    if (!field.at("max_input_chars_per_word").is_null()) return "WordPiece";
    if (!field.at("unk_token").is_null()) return "WordLevel";
  }
  return "BPE";
}

}  // namespace

std::unique_ptr<const TokenizerModel> make_model(const JsonField& field, ModelLists& lists) {
  const std::string type = type_of(field, lists);
  if (type == "BPE") return make_bpe(field, lists);
  if (type == "Unigram") return make_unigram(field, lists);
  if (type == "WordPiece") return make_word_piece(field, lists);
  if (type == "WordLevel") return make_word_level(field, lists);
  field.at("type").refuse("one of the models BPE, Unigram, WordPiece, WordLevel");
}

}  // namespace diffllama
