#include "diffllama/tokenizer.h"

#include <algorithm>
#include <array>
#include <limits>

#include "base/parallel.h"
#include "base/utf8.h"
#include "diffllama/error.h"
#include "tokenizer/expansion.h"
#include "tokenizer/source_text.h"
#include "tokenizer/tokenizer_impl.h"

namespace diffllama {
namespace {

// Normalizes each segment that is not a token by itself.
AlignedText normalize(const Normalizer& normalizer, const AlignedText& text, std::size_t most,
                      std::vector<Segment>& segments) {
  AlignedText result;
  std::vector<Segment> kept;
  for (const Segment& segment : segments) {
    const auto begin = static_cast<std::uint32_t>(result.size());
    if (segment.id != Segment::kNoId) {
      result.append(text, segment.begin, segment.end);
      check_expansion(result.size(), most);
    } else {
      const AlignedText part =
          normalizer.apply(text.slice(segment.begin, segment.end), most - result.size());
      result.append(part, 0, part.size());
    }
    const auto end = static_cast<std::uint32_t>(result.size());
    if (begin != end) kept.push_back({begin, end, segment.id});
  }
  segments = std::move(kept);
  return result;
}

std::vector<EncodedToken> encode_text(const Tokenizer::Impl& parts, const SourceText& source) {
  // A place in a text has 32 bits.
  const std::size_t most = std::min<std::size_t>(expansion_limit(source.text().size()),
                                                 std::numeric_limits<std::uint32_t>::max());
  AlignedText text(source.text());
  std::vector<Segment> segments;
  if (!text.empty()) segments.push_back({0, static_cast<std::uint32_t>(text.size())});
  segments = parts.added_tokens.split(source, text, segments, /*normalized=*/false);
  if (parts.normalizer != nullptr) text = normalize(*parts.normalizer, text, most, segments);
  segments = parts.added_tokens.split(source, text, segments, /*normalized=*/true);
  PreTokenizedText pieces(std::move(text), std::move(segments), most);
  if (parts.pre_tokenizer != nullptr) parts.pre_tokenizer->apply(pieces);

  std::vector<EncodedToken> tokens;
  PieceEncoder encoder(*parts.model, parts.added_tokens, source, pieces, parts.memories);
  std::int32_t word = 0;
  for (const Segment& segment : pieces.segments()) {
    const std::size_t first = tokens.size();
    if (segment.id == Segment::kNoId) {
      encoder.encode(segment, tokens);
    } else {
      EncodedToken token;
      token.id = segment.id;
      token.added = true;
      token.span = pieces.unmapped_text().source(segment.begin, segment.end);
      token.spaces = outer_spaces(pieces.unmapped_text().view(segment.begin, segment.end));
      tokens.push_back(token);
    }
    for (std::size_t i = first; i < tokens.size(); ++i) tokens[i].word = word;
    ++word;
  }
  return tokens;
}

Encoding to_encoding(std::span<const SourceText> sources,
                     const std::vector<EncodedSequence>& sequences) {
  std::size_t count = 0;
  for (const EncodedSequence& sequence : sequences) count += sequence.tokens.size();
  Encoding encoding;
  encoding.ids.reserve(count);
  encoding.type_ids.reserve(count);
  encoding.offsets.reserve(count);
  encoding.word_ids.reserve(count);
  encoding.sequence_ids.reserve(count);
  encoding.special_tokens_mask.reserve(count);
  encoding.attention_mask.assign(count, 1);
  for (const EncodedSequence& sequence : sequences) {
    for (const EncodedToken& token : sequence.tokens) {
      encoding.ids.push_back(token.id);
      encoding.type_ids.push_back(token.type_id);
      TokenOffset offset;
      if (token.sequence >= 0) {
        const SourceText& source = sources[static_cast<std::size_t>(token.sequence)];
        offset = {source.original(token.span.begin), source.original(token.span.end)};
      }
      encoding.offsets.push_back(offset);
      encoding.word_ids.push_back(token.word);
      encoding.sequence_ids.push_back(token.sequence);
      encoding.special_tokens_mask.push_back(token.special);
    }
  }
  return encoding;
}

// One text, or a pair.
Encoding encode_sources(const Tokenizer::Impl& parts, std::span<const SourceText> sources,
                        const EncodeOptions& options) {
  std::vector<EncodedSequence> sequences;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    sequences.push_back({sources[i].text(), encode_text(parts, sources[i])});
    for (EncodedToken& token : sequences.back().tokens) {
      token.sequence = static_cast<std::int8_t>(i);
      token.type_id = static_cast<std::int32_t>(i);
    }
  }
  if (options.truncate_and_pad && parts.truncation) {
    const bool adds = options.add_special_tokens && parts.post_processor != nullptr;
    const std::size_t added = adds ? parts.post_processor->added_tokens(sources.size() == 2) : 0;
    truncate(*parts.truncation, added, sequences);
  }
  if (parts.post_processor != nullptr) {
    const TokenOf token_of = [&parts](std::int32_t id) {
      return parts.model->vocabulary().token_of(id).value_or("");
    };
    parts.post_processor->apply(token_of, options.add_special_tokens, sequences);
  }
  return to_encoding(sources, sequences);
}

void pad_alone(const Tokenizer::Impl& parts, const EncodeOptions& options, Encoding& encoding) {
  if (!options.truncate_and_pad || !parts.padding) return;
  pad(*parts.padding, padded_length(*parts.padding, encoding.ids.size()), encoding);
}

}  // namespace

std::optional<std::string> Tokenizer::Impl::decoder_token(std::int64_t id,
                                                          bool skip_special_tokens) const {
  if (id < 0 || id >= id_limit()) {
    throw InvalidArgument("expected token ids from 0 to " + std::to_string(id_limit() - 1) +
                          ", got " + std::to_string(id));
  }
  std::string token;
  if (const std::string* added = added_tokens.decoded(id)) {
    token = *added;
  } else if (const auto known = model->vocabulary().token_of(id)) {
    token = *known;
  } else {
    return std::nullopt;
  }
  if (skip_special_tokens && added_tokens.is_special(token)) return std::nullopt;
  return token;
}

std::string Tokenizer::Impl::decode(std::vector<std::string> tokens) const {
  std::string text;
  if (decoder != nullptr) {
    std::size_t bytes = 0;
    for (const std::string& token : tokens) bytes += token.size();
    for (const std::string& part : decoder->apply(std::move(tokens), expansion_limit(bytes))) {
      text += part;
    }
  } else {
    for (std::size_t i = 0; i < tokens.size(); ++i) text += (i > 0 ? " " : "") + tokens[i];
  }
  // Tokens of a GGUF file may hold any bytes.
  return replace_invalid_utf8(text);
}

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Encoding Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  return encode(text, EncodeOptions{add_special_tokens, false});
}

Encoding Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  const TextPart whole{text, true};
  return encode(std::span(&whole, 1), options);
}

Encoding Tokenizer::encode(std::span<const TextPart> parts, bool add_special_tokens) const {
  return encode(parts, EncodeOptions{add_special_tokens, false});
}

Encoding Tokenizer::encode(std::span<const TextPart> parts, const EncodeOptions& options) const {
  SourceText source;
  for (const TextPart& part : parts) source.append(part.text, part.trusted);
  Encoding encoding = encode_sources(*impl_, std::span(&source, 1), options);
  pad_alone(*impl_, options, encoding);
  return encoding;
}

Encoding Tokenizer::encode_pair(std::string_view text, std::string_view pair,
                                const EncodeOptions& options) const {
  std::array<SourceText, 2> sources;
  sources[0].append(text);
  sources[1].append(pair);
  Encoding encoding = encode_sources(*impl_, sources, options);
  pad_alone(*impl_, options, encoding);
  return encoding;
}

std::vector<Encoding> Tokenizer::encode_batch(std::span<const std::string_view> texts,
                                              const EncodeOptions& options, int threads) const {
  std::vector<Encoding> encodings(texts.size());
  const auto encode_one = [&](std::int64_t task, int /*worker*/) {
    const auto i = static_cast<std::size_t>(task);
    SourceText source;
    source.append(texts[i]);
    encodings[i] = encode_sources(*impl_, std::span(&source, 1), options);
  };
  Parallel(threads).run(static_cast<std::int64_t>(texts.size()), encode_one);
  if (!options.truncate_and_pad || !impl_->padding) return encodings;
  std::size_t longest = 0;
  for (const Encoding& encoding : encodings) longest = std::max(longest, encoding.ids.size());
  const std::size_t length = padded_length(*impl_->padding, longest);
  for (Encoding& encoding : encodings) pad(*impl_->padding, length, encoding);
  return encodings;
}

std::string Tokenizer::decode(std::span<const std::int64_t> ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  for (const std::int64_t id : ids) {
    if (auto token = impl_->decoder_token(id, skip_special_tokens)) {
      tokens.push_back(std::move(*token));
    }
  }
  return impl_->decode(std::move(tokens));
}

std::int64_t Tokenizer::vocab_size() const { return impl_->id_limit(); }

std::optional<std::int64_t> Tokenizer::token_to_id(std::string_view token) const {
  if (const auto id = impl_->added_tokens.id_of(token)) return *id;
  if (const auto id = impl_->model->vocabulary().id_of(token)) return *id;
  return std::nullopt;
}

std::string Tokenizer::id_to_token(std::int64_t id) const {
  if (const std::string* added = impl_->added_tokens.content(id)) return *added;
  return std::string(impl_->model->vocabulary().token_of(id).value_or(""));
}

std::optional<std::int64_t> Tokenizer::bos_token_id() const { return impl_->bos_token_id; }
std::optional<std::int64_t> Tokenizer::eos_token_id() const { return impl_->eos_token_id; }
std::optional<std::int64_t> Tokenizer::unk_token_id() const { return impl_->unk_token_id; }
std::optional<std::int64_t> Tokenizer::cls_token_id() const { return impl_->cls_token_id; }
std::optional<std::int64_t> Tokenizer::pad_token_id() const { return impl_->pad_token_id; }
std::optional<std::int64_t> Tokenizer::model_max_length() const { return impl_->model_max_length; }
bool Tokenizer::pads_left() const { return impl_->pads_left; }

std::string Tokenizer::continuing_subword_prefix() const {
  return std::string(impl_->model->continuing_subword_prefix());
}

std::string Tokenizer::convert_tokens_to_string(std::span<const std::string> tokens) const {
  return impl_->decode({tokens.begin(), tokens.end()});
}

}  // namespace diffllama
