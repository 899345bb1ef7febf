#include "tokenizer/sentencepiece_file.h"

#include <bit>
#include <cmath>
#include <optional>

#include "base/utf8.h"
#include "diffllama/error.h"
#include "tokenizer/vocabulary.h"

namespace diffllama {
namespace {

/// The fields of one message of a protocol buffer (protobuf.dev, "Encoding"), in order.
class MessageReader {
 public:
  MessageReader(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  /// Goes to the next field; false at the end.
  bool next() {
    if (at_ == bytes_.size()) return false;
    const std::uint64_t tag = varint();
    number_ = tag >> 3;
    wire_type_ = static_cast<unsigned>(tag & 7U);
    if (number_ == 0) refuse("a field number");
    switch (wire_type_) {
      case 0:
        value_ = varint();
        break;
      case 1:
        content_ = take(8);
        break;
      case 2:
        content_ = take(varint());
        break;
      case 5:
        content_ = take(4);
        break;
      default:
        refuse("a wire type of 0, 1, 2 or 5");
    }
    return true;
  }
  std::uint64_t number() const { return number_; }

  /// The field as a type; the wire type must fit.
  std::string_view message() const {
    expect(2);
    return content_;
  }
  std::uint64_t integer() const {
    expect(0);
    return value_;
  }
  float real() const {
    expect(5);
    std::uint32_t bits = 0;
    for (std::size_t i = 4; i-- > 0;) bits = bits << 8 | static_cast<unsigned char>(content_[i]);
    return std::bit_cast<float>(bits);
  }

  [[noreturn]] void refuse(const std::string& expected) const {
    throw FormatError(where_ + ": expected a SentencePiece model with " + expected +
                      ", got something else at byte " + std::to_string(at_) + " of a message of " +
                      std::to_string(bytes_.size()));
  }

 private:
  void expect(unsigned wire_type) const {
    if (wire_type_ != wire_type) refuse("field " + std::to_string(number_) + " of its wire type");
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at_ == bytes_.size()) refuse("whole fields");
      const auto byte = static_cast<unsigned char>(bytes_[at_++]);
      value |= std::uint64_t{byte & 0x7FU} << shift;
      if (byte < 0x80) return value;
    }
    refuse("numbers of at most ten bytes");
  }
  std::string_view take(std::uint64_t size) {
    if (size > bytes_.size() - at_) refuse("whole fields");
    const std::string_view taken = bytes_.substr(at_, size);
    at_ += size;
    return taken;
  }

  std::string_view bytes_;
  const std::string& where_;
  std::size_t at_ = 0;
  std::uint64_t number_ = 0, value_ = 0;
  unsigned wire_type_ = 0;
  std::string_view content_;
};

SentencePieceFile::Piece read_piece(std::string_view message, std::size_t id,
                                    const std::string& where) {
  SentencePieceFile::Piece piece;
  MessageReader reader(message, where);
  while (reader.next()) {
    if (reader.number() == 1) piece.text = reader.message();
    if (reader.number() == 2) piece.score = reader.real();
    if (reader.number() == 3) {
      const std::uint64_t type = reader.integer();
      if (type < 1 || type > 6) reader.refuse("piece types from 1 to 6");
      piece.type = static_cast<SentencePieceFile::Type>(type);
    }
  }
  // The library's tries take a NUL for the end.
  if (piece.text.empty() || piece.text.find('\0') != std::string::npos ||
      replace_invalid_utf8(piece.text) != piece.text || !std::isfinite(piece.score)) {
    throw FormatError(where + ": expected pieces of UTF-8 text with finite scores, got " +
                      quote_token(piece.text) + " as piece " + std::to_string(id));
  }
  return piece;
}

void read_trainer(std::string_view message, const std::string& where, SentencePieceFile& file) {
  MessageReader reader(message, where);
  while (reader.next()) {
    if (reader.number() == 3) {
      const std::uint64_t type = reader.integer();
      if (type != 1 && type != 2) {
        throw FormatError(where + ": expected model_type 1 (unigram) or 2 (bpe), got " +
                          std::to_string(type));
      }
      file.model_type = static_cast<SentencePieceFile::ModelType>(type);
    }
    if (reader.number() == 35) file.byte_fallback = reader.integer() != 0;
  }
}

}  // namespace

SentencePieceFile parse_sentencepiece(std::string_view bytes, const std::string& where) {
  SentencePieceFile file;
  MessageReader reader(bytes, where);
  while (reader.next()) {
    if (reader.number() == 1) {
      if (file.pieces.size() == kVocabularyLimit) reader.refuse("fewer pieces");
      file.pieces.push_back(read_piece(reader.message(), file.pieces.size(), where));
    }
    if (reader.number() == 2) read_trainer(reader.message(), where, file);
    if (reader.number() == 3) static_cast<void>(reader.message());
  }
  if (file.pieces.empty()) {
    throw FormatError(where + ": expected a SentencePiece model with pieces, got " +
                      std::to_string(bytes.size()) + " bytes without any");
  }
  return file;
}

}  // namespace diffllama
