#pragma once

#include <memory>
#include <optional>
#include <string>

#include "diffllama/tokenizer.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/decoder.h"
#include "tokenizer/encoding_settings.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/piece_encoder.h"
#include "tokenizer/post_processor.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/tokenizer_model.h"

namespace diffllama {

/// The parts of a tokenizer, in the order that text goes through them. Absent ones are null.
struct [[gnu::visibility("hidden")]] Tokenizer::Impl {
  explicit Impl(std::unique_ptr<const TokenizerModel> the_model) : model(std::move(the_model)) {}

  AddedVocabulary added_tokens;
  std::unique_ptr<const Normalizer> normalizer;
  std::unique_ptr<const PreTokenizer> pre_tokenizer;
  std::unique_ptr<const TokenizerModel> model;  // never null
  mutable PieceMemories memories;               // changes no result
  std::unique_ptr<const PostProcessor> post_processor;
  std::unique_ptr<const Decoder> decoder;
  std::optional<Truncation> truncation;
  std::optional<Padding> padding;
  std::optional<std::int64_t> bos_token_id, eos_token_id, unk_token_id, pad_token_id, cls_token_id;
  std::optional<std::int64_t> model_max_length;
  bool pads_left = false;

  std::int64_t id_limit() const {
    return std::max(model->vocabulary().id_limit(), added_tokens.id_limit());
  }
  /// What decoders see for an id: nothing for one without a token. Throws InvalidArgument for ids
  /// outside [0, id_limit()).
  std::optional<std::string> decoder_token(std::int64_t id, bool skip_special_tokens) const;
  std::string decode(std::vector<std::string> tokens) const;
};

}  // namespace diffllama
