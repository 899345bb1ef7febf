#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "diffllama/config.h"

namespace [[gnu::visibility("default")]] diffllama {

/// Where a token lies in the text that was encoded: bytes [begin, end). Special tokens that the
/// post-processor adds have begin == end == 0, as in the tokenizers library (which counts
/// characters where this counts bytes).
struct TokenOffset {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// A text's tokens; each list has one entry for each id.
struct Encoding {
  std::vector<std::int64_t> ids;
  std::vector<TokenOffset> offsets;
  /// 0 and 1 for the first and the second text of a pair, or what the post-processor says.
  std::vector<std::int64_t> type_ids;
  /// The piece (word) that the token is of, counted as the pre-tokenizer cut them, added tokens
  /// among them; -1 for tokens that the post-processor added.
  std::vector<std::int64_t> word_ids;
  /// 0: of the text, 1: of the second text of a pair; -1 for tokens that were added.
  std::vector<std::int64_t> sequence_ids;
  /// 1 for tokens that the post-processor or padding added.
  std::vector<std::uint8_t> special_tokens_mask;
  /// 0 for padding.
  std::vector<std::uint8_t> attention_mask;
};

struct EncodeOptions {
  /// Applies the post-processor (BOS, EOS).
  bool add_special_tokens = true;
  /// Applies the settings "truncation" and "padding" of tokenizer.json, as the tokenizers library
  /// does. transformers reads them, and then goes by the arguments of each call.
  bool truncate_and_pad = false;
};

/// A part of a text to encode. Where it is not trusted, nothing in it becomes a control token (a
/// special added token, or one written like <|...|>): it is encoded as the ordinary text that it
/// is. Other added tokens match everywhere.
struct TextPart {
  std::string_view text;
  bool trusted = true;
};

/// Text to token ids and back, as tokenizer.json (Hugging Face tokenizers) or a GGUF file defines
/// it. Immutable: one object serves any number of threads.
class Tokenizer {
 public:
  /// `path` is a Hugging Face directory, a tokenizer.json, or a .gguf file. Throws IoError,
  /// FormatError.
  static Tokenizer from_pretrained(const std::filesystem::path& path,
                                   const WarningHandler& warn = {});

  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  /// Ids of `text`; what is not UTF-8 is read as U+FFFD, one for each maximal subpart (as Python's
  /// errors="replace" has it). add_special_tokens applies the post-processor (BOS, EOS); special
  /// tokens inside the text match either way. Throws InvalidArgument for texts of 1.3 GiB and more,
  /// FormatError where a regular expression of the tokenizer backtracks without end.
  Encoding encode(std::string_view text, bool add_special_tokens = true) const;
  /// Ids of the text that `parts` make together, as if it were one, but that control tokens match
  /// only where all of their bytes are of trusted parts. Offsets are bytes of the whole.
  Encoding encode(std::span<const TextPart> parts, bool add_special_tokens = true) const;
  /// The same with options. Truncation throws InvalidArgument where its strategy cannot shorten
  /// the text.
  Encoding encode(std::string_view text, const EncodeOptions& options) const;
  Encoding encode(std::span<const TextPart> parts, const EncodeOptions& options) const;
  /// Two texts in one: a question and its context, a premise and its hypothesis.
  Encoding encode_pair(std::string_view text, std::string_view pair,
                       const EncodeOptions& options = {}) const;
  /// Each text as encode does it, on `threads` threads; padding is to the longest of them.
  std::vector<Encoding> encode_batch(std::span<const std::string_view> texts,
                                     const EncodeOptions& options = {}, int threads = 1) const;
  /// Text of `ids`; bytes that do not make UTF-8 become U+FFFD. Ids outside the vocabulary throw
  /// InvalidArgument.
  std::string decode(std::span<const std::int64_t> ids, bool skip_special_tokens = false) const;

  /// Number of ids, added tokens included: one past the largest id.
  std::int64_t vocab_size() const;
  std::optional<std::int64_t> token_to_id(std::string_view token) const;
  /// The token as the vocabulary writes it ("Ġthe"); empty for an id without one.
  std::string id_to_token(std::int64_t id) const;
  /// The bytes that a token adds to a text; with `first`, where it begins one (some decoders leave
  /// out a space there). Empty for special tokens and ids without a token. Bytes of one token need
  /// not be whole characters. Ids outside the vocabulary throw InvalidArgument.
  std::string token_bytes(std::int64_t id, bool first = false) const;
  std::optional<std::int64_t> bos_token_id() const;
  std::optional<std::int64_t> eos_token_id() const;
  std::optional<std::int64_t> unk_token_id() const;
  std::optional<std::int64_t> cls_token_id() const;
  std::optional<std::int64_t> pad_token_id() const;
  /// "model_max_length" of tokenizer_config.json; nothing where it is absent or stands for no
  /// limit.
  std::optional<std::int64_t> model_max_length() const;
  /// Whether "padding_side" of tokenizer_config.json is "left"; nothing is padded by it here, but
  /// question answering puts the context before the question then.
  bool pads_left() const;
  /// What the model writes before each token of a word but the first ("##"); empty for most.
  std::string continuing_subword_prefix() const;
  /// Tokens, as id_to_token gives them, to text: the decoder alone (transformers'
  /// convert_tokens_to_string).
  std::string convert_tokens_to_string(std::span<const std::string> tokens) const;

  /// Decodes ids as they come; gives text only when it is whole UTF-8 characters. The tokenizer
  /// must outlive it.
  class Stream {
   public:
    Stream(const Tokenizer& tokenizer, bool skip_special_tokens = true);
    ~Stream();
    Stream(Stream&&) noexcept;
    /// New text that `id` completes; may be empty.
    std::string push(std::int64_t id);
    /// What is left, incomplete characters as U+FFFD.
    std::string finish();

   private:
    struct State;
    std::unique_ptr<State> state_;
  };

  struct Impl;
  [[gnu::visibility("hidden")]] explicit Tokenizer(std::unique_ptr<const Impl> impl);

 private:
  std::unique_ptr<const Impl> impl_;
};

/// What train_tokenizer makes.
enum class TokenizerKind {
  byte_level_bpe,  ///< "BPE" of bytes, split as Llama 3 does
  metaspace_bpe,   ///< "BPE" of characters, blanks as U+2581, rare characters in bytes
  unigram,         ///< "Unigram", likewise
};

struct TokenizerTraining {
  TokenizerKind kind = TokenizerKind::byte_level_bpe;
  /// The most tokens there may be; fewer when no pair of tokens is frequent enough.
  std::int64_t vocab_size = 32000;
  /// How often a pair must stand in the texts to be merged (BPE).
  std::int64_t min_frequency = 2;
  /// Tokens that get the first ids, after "<unk>" (not of bytes), bos_token and eos_token.
  std::vector<std::string> special_tokens;
  /// Stand before and after each text that is encoded, where they are not empty.
  std::string bos_token, eos_token;
};

/// Gives the next text to train on, or nothing after the last.
using NextText = std::function<std::optional<std::string>()>;

/// A tokenizer.json, which the tokenizers library reads too, trained on texts; the same texts give
/// the same bytes. Throws InvalidArgument for a vocab_size that has no room for all bytes and the
/// special tokens, and for no text at all.
std::string train_tokenizer(const TokenizerTraining& training, const NextText& next_text);

/// The tokenizer_config.json that transformers wants beside what train_tokenizer makes: the class
/// and the special tokens.
std::string trained_tokenizer_config(const TokenizerTraining& training);

}  // namespace diffllama
