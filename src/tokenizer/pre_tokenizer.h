#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "tokenizer/aligned_text.h"
#include "tokenizer/expansion.h"
#include "tokenizer/json_fields.h"
#include "tokenizer/pattern.h"

namespace diffllama {

/// A part of a PreTokenizedText: bytes [begin, end), never empty. It is an added token when `id` is
/// not kNoId.
struct Segment {
  static constexpr std::int32_t kNoId = -1;
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  std::int32_t id = kNoId;
};

/// "behavior" of Split and Punctuation: what becomes of the parts that match.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

/// Text and the segments it was cut into, in order.
class PreTokenizedText {
 public:
  /// `most`: the bytes that it may have after rewrite (expansion.h).
  PreTokenizedText(AlignedText text, std::vector<Segment> segments, std::size_t most)
      : text_(std::move(text)), segments_(std::move(segments)), most_(most) {}

  /// The text as the next step sees it: after map_bytes(), in the byte-level alphabet.
  const AlignedText& text();
  std::vector<Segment>& segments() { return segments_; }

  /// Each byte of segments that are not added tokens becomes its byte-level character. This is put
  /// off until text() is asked for: usually the model is the only reader, and maps each piece by
  /// itself.
  void map_bytes();
  /// The text before a map_bytes() that was put off, and whether there is one.
  const AlignedText& unmapped_text() const { return text_; }
  bool mapping_is_pending() const { return pending_; }

  /// Replaces the text by what `edit(text, segment, out)` appends to `out` for each segment that
  /// is not an added token. Throws InvalidArgument for one that gets too long.
  template <class Edit>
  void rewrite(const Edit& edit) {
    const AlignedText& old = text();
    AlignedText changed(std::string(), old.origin());
    for (Segment& segment : segments_) {
      const auto begin = static_cast<std::uint32_t>(changed.size());
      if (segment.id != Segment::kNoId) {
        changed.append(old, segment.begin, segment.end);
      } else {
        edit(old, segment, changed);
      }
      check_expansion(changed.size(), most_);
      segment = {begin, static_cast<std::uint32_t>(changed.size()), segment.id};
    }
    text_ = std::move(changed);
  }

  /// Cuts each segment that is not an added token at the parts that `find(text, matches)` gives.
  template <class Find>
  void split(const Find& find, SplitBehavior behavior, bool invert = false) {
    const AlignedText& whole = text();
    std::vector<Segment> cut;
    cut.reserve(segments_.size());
    std::vector<Match> matches;
    for (const Segment& segment : segments_) {
      if (segment.id != Segment::kNoId) {
        cut.push_back(segment);
        continue;
      }
      find(whole.view(segment.begin, segment.end), matches);
      if (invert) {
        for (Match& match : matches) match.matched = !match.matched;
      }
      add_parts(matches, behavior, segment.begin, cut);
    }
    segments_ = std::move(cut);
  }

 private:
  static void add_parts(std::vector<Match>& matches, SplitBehavior behavior, std::uint32_t origin,
                        std::vector<Segment>& cut);

  AlignedText text_;
  std::vector<Segment> segments_;
  std::size_t most_;
  bool pending_ = false;
};

/// "pre_tokenizer" of tokenizer.json: cuts text into the pieces that the model tokenizes.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(PreTokenizedText& text) const = 0;
};

/// ByteLevel, Metaspace, Split, Digits, Punctuation, Whitespace, WhitespaceSplit,
/// CharDelimiterSplit, BertPreTokenizer, UnicodeScripts, FixedLength, Sequence. null gives nullptr;
/// any other type is a FormatError that names it.
std::unique_ptr<const PreTokenizer> make_pre_tokenizer(const JsonField& field);

/// Those that GGUF files name instead of describing.
std::unique_ptr<const PreTokenizer> make_byte_level_pre_tokenizer(bool add_prefix_space,
                                                                  bool use_regex);
std::unique_ptr<const PreTokenizer> make_regex_pre_tokenizer(std::string_view pattern,
                                                             const std::string& where);
std::unique_ptr<const PreTokenizer> make_digits_pre_tokenizer(bool individual_digits);
std::unique_ptr<const PreTokenizer> make_pre_tokenizer_sequence(
    std::vector<std::unique_ptr<const PreTokenizer>> parts);

}  // namespace diffllama
