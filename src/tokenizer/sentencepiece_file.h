#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace diffllama {

/// What a SentencePiece tokenizer.model (a protocol buffer, sentencepiece_model.proto) says, as far
/// as a tokenizer needs it. Strings may hold any bytes.
struct SentencePieceFile {
  /// Values of ModelProto.SentencePiece.Type.
  enum class Type { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };
  struct Piece {
    std::string text;
    float score = 0;
    Type type = Type::normal;
  };
  /// Values of TrainerSpec.ModelType.
  enum class ModelType { unigram = 1, bpe = 2, word = 3, character = 4 };

  std::vector<Piece> pieces;  // by id
  ModelType model_type = ModelType::unigram;
  bool byte_fallback = false;
};

/// Reads one. Throws FormatError that starts with `where` for what is no such file: the library
/// that runs it trusts what it reads further than that.
SentencePieceFile parse_sentencepiece(std::string_view bytes, const std::string& where);

}  // namespace diffllama
