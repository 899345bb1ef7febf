#include "tokenizer/sentencepiece_model.h"

#include <sentencepiece_processor.h>

#include <exception>
#include <string>

#include "diffllama/error.h"
#include "tokenizer/first_word.h"

namespace diffllama {
namespace {

// Messages of a protocol buffer that stand one after the other are merged, the later value of a
// field wins: normalizer_spec (field 3) with precompiled_charsmap (2) empty, add_dummy_prefix (3)
// and remove_extra_whitespaces (4) false, escape_whitespaces (5) true; self_test_data (4) cannot be
// undone, and is read before. transformers turns the LlamaTokenizer's normalizer off likewise.
constexpr std::string_view kNoNormalizer("\x1a\x08\x12\x00\x18\x00\x20\x00\x28\x01", 10);

Vocabulary make_vocabulary(const SentencePieceFile& file, const std::string& where) {
  Vocabulary vocabulary(where);
  for (std::size_t id = 0; id < file.pieces.size(); ++id) {
    vocabulary.add(file.pieces[id].text, static_cast<std::int64_t>(id));
  }
  vocabulary.finish();
  return vocabulary;
}

// BPE joins two neighbours where they are a piece together, so words never meet where no piece
// holds the end of one and the blank before the next.
bool has_independent_words(const SentencePieceFile& file) {
  if (file.model_type != SentencePieceFile::ModelType::bpe) return false;
  bool has_blank = false;
  for (const auto& piece : file.pieces) {
    if (first_word(piece.text) != piece.text.size()) return false;
    has_blank = has_blank || piece.text == kBlankMark;
  }
  return has_blank;
}

}  // namespace

class SentencePieceModel::LibraryEncoder : public TokenizerModel::Encoder {
 public:
  explicit LibraryEncoder(const SentencePieceModel& model) : model_(model) {}

  void encode(std::string_view piece, std::vector<PieceToken>& tokens) override {
    const auto text =
        model_.processor_->EncodeAsImmutableProto(absl::string_view(piece.data(), piece.size()));
    std::uint32_t begin = 0;
    for (std::size_t i = 0; i < text.pieces_size(); ++i) {
      const auto token = text.pieces(static_cast<int>(i));
      // The bytes of a character have a place only together, at the last of them.
      std::uint32_t end = token.end();
      for (std::size_t next = i + 1; end <= begin && next < text.pieces_size(); ++next) {
        end = text.pieces(static_cast<int>(next)).end();
      }
      tokens.push_back({token.id(), begin, end});
      if (token.end() > begin) begin = token.end();
    }
  }

 private:
  const SentencePieceModel& model_;
};

SentencePieceModel::SentencePieceModel(const SentencePieceFile& file, std::string_view bytes,
                                       const std::string& where)
    : vocabulary_(make_vocabulary(file, where)),
      words_are_independent_(has_independent_words(file)),
      processor_(std::make_unique<sentencepiece::SentencePieceProcessor>()) {
  std::string serialized(bytes);
  serialized += kNoNormalizer;
  std::string failure;
  try {
    const auto status = processor_->LoadFromSerializedProto(serialized);
    if (!status.ok()) failure = status.ToString();
  } catch (const std::exception& error) {  // of its tries
    failure = error.what();
  }
  if (!failure.empty()) {
    throw FormatError(
        where + ": expected a model that SentencePiece loads, got: " + failure.substr(0, 200));
  }
}

SentencePieceModel::~SentencePieceModel() = default;

std::unique_ptr<TokenizerModel::Encoder> SentencePieceModel::make_encoder() const {
  return std::make_unique<LibraryEncoder>(*this);
}

std::optional<std::uint32_t> SentencePieceModel::unk_id() const {
  const int id = processor_->unk_id();
  return id < 0 ? std::nullopt : std::optional(static_cast<std::uint32_t>(id));
}

std::size_t SentencePieceModel::independent_prefix(std::string_view piece) const {
  return words_are_independent_ ? first_word(piece) : piece.size();
}

}  // namespace diffllama
