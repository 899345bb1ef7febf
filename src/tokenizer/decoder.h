#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "tokenizer/json_fields.h"

namespace diffllama {

/// "decoder" of tokenizer.json: turns tokens into parts of text that are then joined.
class Decoder {
 public:
  virtual ~Decoder() = default;
  /// `most`: the bytes that all parts may have (expansion.h); throws InvalidArgument for more.
  virtual std::vector<std::string> apply(std::vector<std::string> tokens,
                                         std::size_t most) const = 0;
  /// True when each token spells bytes by itself (byte_level_token_bytes), all joined.
  virtual bool is_byte_level() const { return false; }
};

/// ByteLevel, Metaspace, ByteFallback, Fuse, Strip, Replace, WordPiece, BPEDecoder, Sequence. null
/// gives nullptr; any other type, CTC's too, is a FormatError that names it.
std::unique_ptr<const Decoder> make_decoder(const JsonField& field);
std::unique_ptr<const Decoder> make_byte_level_decoder();

/// What the ByteLevel decoder makes of one token: the bytes that it spells, or itself when it has
/// characters outside of the alphabet.
std::string byte_level_token_bytes(const std::string& token);

}  // namespace diffllama
