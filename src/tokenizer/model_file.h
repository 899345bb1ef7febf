#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "diffllama/tokenizer.h"
#include "tokenizer/load_tokenizer.h"

namespace diffllama {

/// A tokenizer from a tokenizer.model (SentencePiece, or tiktoken's lines of base64) in a directory
/// without tokenizer.json, as transformers makes one.
///
/// SentencePiece: the model runs in its library without its normalizer; blanks become U+2581, with
/// one in front of the text (`add_prefix_space` of tokenizer_config.json), or of every part between
/// added tokens (`legacy`). Control pieces are special tokens, user-defined ones added tokens.
/// Tokens of `added_tokens_decoder`, or without it those of added_tokens.json, have the ids stated
/// there. `add_bos_token` and `add_eos_token` put bos_token and eos_token around each text. What is
/// absent is as LlamaTokenizer of transformers 4 has it: legacy, add_prefix_space and add_bos_token
/// true, add_eos_token false. null is false there, but for legacy, where it is as if absent.
///
/// tiktoken: byte-level BPE, split as Llama 3 does; ids behind the ranks are those of
/// `added_tokens_decoder`, with <|reserved_token_ID|> where it has gaps. Nothing is put around a
/// text unless add_bos_token or add_eos_token say so.
///
/// Of `files` the tokenizer_json is not read. Throws FormatError.
std::unique_ptr<Tokenizer::Impl> parse_model_file(const TokenizerFiles& files);

/// Whether a SentencePiece model has a blank put in front of texts: add_prefix_space of
/// tokenizer_config.json. Throws FormatError.
bool model_file_space_prefix(const TokenizerFiles& files);

/// How a tiktoken vocabulary's text is split, as Llama 3 does it.
inline constexpr std::string_view kTiktokenPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

}  // namespace diffllama
