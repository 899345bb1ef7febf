#include "tokenizer/pre_tokenizer.h"

#include <string>
#include <utility>

#include "base/utf8.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/unicode.h"
#include "tokenizer/unicode_scripts.h"

namespace diffllama {
namespace {

// Finds the single characters for which `is` holds.
template <class Is>
auto characters(const Is& is) {
  return [is](std::string_view text, std::vector<Match>& matches) {
    matches.clear();
    std::size_t covered = 0;
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint c = code_point_at(text, at);
      const std::size_t end = at + c.length;
      if (is(c.value)) {
        if (covered < at) matches.push_back({covered, at, false});
        matches.push_back({at, end, true});
        covered = end;
      }
      at = end;
    }
    if (covered < text.size()) matches.push_back({covered, text.size(), false});
  };
}

// Puts `prefix` before each segment that does not start with it and for which `wanted` holds; it
// stands for the segment's first character.
template <class Wanted>
void add_prefix(PreTokenizedText& text, std::string_view prefix, const Wanted& wanted) {
  const AlignedText& current = text.text();
  const auto lacks_prefix = [&](const AlignedText& whole, const Segment& segment) {
    return segment.id == Segment::kNoId && wanted(whole, segment) &&
           !whole.view(segment.begin, segment.end).starts_with(prefix);
  };
  bool changes = false;
  for (const Segment& segment : text.segments()) changes |= lacks_prefix(current, segment);
  if (!changes) return;
  text.rewrite([&](const AlignedText& old, const Segment& segment, AlignedText& out) {
    if (lacks_prefix(old, segment)) {
      out.append(prefix, old.source(segment.begin, segment.begin + 1));
    }
    out.append(old, segment.begin, segment.end);
  });
}

class ByteLevel : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, bool use_regex) : add_prefix_space_(add_prefix_space) {
    if (use_regex) pattern_ = Pattern::regex(kGpt2Pattern, "ByteLevel");
  }
  void apply(PreTokenizedText& text) const override {
    if (add_prefix_space_) {
      add_prefix(text, " ", [](const AlignedText&, const Segment&) { return true; });
    }
    if (pattern_) {
      Pattern::Matcher matcher(*pattern_);
      text.split([&](std::string_view part, auto& matches) { matcher.find(part, matches); },
                 SplitBehavior::isolated);
    }
    text.map_bytes();
  }

 private:
  bool add_prefix_space_;
  std::optional<Pattern> pattern_;
};

class Split : public PreTokenizer {
 public:
  Split(Pattern pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  void apply(PreTokenizedText& text) const override {
    Pattern::Matcher matcher(pattern_);
    text.split([&](std::string_view part, auto& matches) { matcher.find(part, matches); },
               behavior_, invert_);
  }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

class Digits : public PreTokenizer {
 public:
  explicit Digits(bool individual) : individual_(individual) {}
  void apply(PreTokenizedText& text) const override {
    text.split(characters(is_numeric),
               individual_ ? SplitBehavior::isolated : SplitBehavior::contiguous);
  }

 private:
  bool individual_;
};

// \w+|[^\w\s]+
class Whitespace : public PreTokenizer {
 public:
  void apply(PreTokenizedText& text) const override {
    enum Kind { space, word, other };
    const auto kind_of = [](const CodePoint& c) {
      if (is_word(c.value)) return word;
      return is_whitespace(c.value) ? space : other;
    };
    text.split(
        [&](std::string_view part, std::vector<Match>& matches) {
          matches.clear();
          for (std::size_t at = 0; at < part.size();) {
            const Kind kind = kind_of(code_point_at(part, at));
            std::size_t end = at;
            while (end < part.size() && kind_of(code_point_at(part, end)) == kind) {
              end += code_point_at(part, end).length;
            }
            matches.push_back({at, end, kind == space});
            at = end;
          }
        },
        SplitBehavior::removed);
  }
};

class CharDelimiterSplit : public PreTokenizer {
 public:
  explicit CharDelimiterSplit(char32_t delimiter) : delimiter_(delimiter) {}
  void apply(PreTokenizedText& text) const override {
    text.split(characters([this](char32_t c) { return c == delimiter_; }), SplitBehavior::removed);
  }

 private:
  char32_t delimiter_;
};

class BertPreTokenizer : public PreTokenizer {
 public:
  void apply(PreTokenizedText& text) const override {
    text.split(characters(is_whitespace), SplitBehavior::removed);
    text.split(characters(is_punctuation), SplitBehavior::isolated);
  }
};

class FixedLength : public PreTokenizer {
 public:
  explicit FixedLength(std::int64_t length) : length_(length) {}
  void apply(PreTokenizedText& text) const override {
    text.split(
        [this](std::string_view part, std::vector<Match>& matches) {
          matches.clear();
          for (std::size_t at = 0; at < part.size();) {
            const std::size_t begin = at;
            for (std::int64_t n = 0; n < length_ && at < part.size(); ++n) {
              at += code_point_at(part, at).length;
            }
            matches.push_back({begin, at, true});
          }
        },
        SplitBehavior::isolated);
  }

 private:
  std::int64_t length_;  // characters
};

// Where the script changes, as SentencePiece's trainer has it. Blanks and characters without a
// script go with what comes before; at the very start they are lost.
class UnicodeScripts : public PreTokenizer {
 public:
  void apply(PreTokenizedText& text) const override {
    text.split(
        [](std::string_view part, std::vector<Match>& matches) {
          matches.clear();
          int last = kNoScript;
          std::size_t begin = 0;
          for (std::size_t at = 0; at < part.size();) {
            const CodePoint c = code_point_at(part, at);
            const int script = unicode_script(c.value);
            if (script != kNoScript && script != last) {
              if (at > begin) matches.push_back({begin, at, last == kNoScript});
              begin = at;
              last = script;
            }
            at += c.length;
          }
          if (begin < part.size()) matches.push_back({begin, part.size(), last == kNoScript});
        },
        SplitBehavior::removed);
  }
};

class WhitespaceSplit : public PreTokenizer {
 public:
  void apply(PreTokenizedText& text) const override {
    text.split(characters(is_whitespace), SplitBehavior::removed);
  }
};

class Punctuation : public PreTokenizer {
 public:
  explicit Punctuation(SplitBehavior behavior) : behavior_(behavior) {}
  void apply(PreTokenizedText& text) const override {
    text.split(characters(is_punctuation), behavior_);
  }

 private:
  SplitBehavior behavior_;
};

class Metaspace : public PreTokenizer {
 public:
  enum class Prepend { always, first, never };
  Metaspace(std::string replacement, Prepend prepend, bool split)
      : replacement_(std::move(replacement)), prepend_(prepend), split_(split) {}

  void apply(PreTokenizedText& text) const override {
    text.rewrite([&](const AlignedText& old, const Segment& segment, AlignedText& out) {
      std::size_t copied = segment.begin;
      for (std::size_t at = segment.begin; at < segment.end; ++at) {
        if (old.text()[at] != ' ') continue;
        out.append(old, copied, at);
        out.append(replacement_, old.source(at, at + 1));
        copied = at + 1;
      }
      out.append(old, copied, segment.end);
    });
    if (prepend_ != Prepend::never) {
      add_prefix(text, replacement_, [&](const AlignedText& whole, const Segment& segment) {
        return prepend_ == Prepend::always ||
               whole.source(segment.begin, segment.begin + 1).begin == 0;
      });
    }
    if (split_) {
      const char32_t mark = code_point_at(replacement_, 0).value;
      text.split(characters([mark](char32_t c) { return c == mark; }),
                 SplitBehavior::merged_with_next);
    }
  }

 private:
  std::string replacement_;
  Prepend prepend_;
  bool split_;
};

class PreTokenizerSequence : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(std::vector<std::unique_ptr<const PreTokenizer>> parts)
      : parts_(std::move(parts)) {}
  void apply(PreTokenizedText& text) const override {
    for (const auto& part : parts_) part->apply(text);
  }

 private:
  std::vector<std::unique_ptr<const PreTokenizer>> parts_;
};

SplitBehavior split_behavior(const JsonField& field) {
  const std::string name = field.as_string();
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  field.refuse("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

std::unique_ptr<const PreTokenizer> make_metaspace(const JsonField& field) {
  const JsonField scheme = field.at("prepend_scheme");
  const std::string name = scheme.as_string("always");
  auto prepend = Metaspace::Prepend::always;
  if (name == "first") {
    prepend = Metaspace::Prepend::first;
  } else if (name == "never") {
    prepend = Metaspace::Prepend::never;
  } else if (name != "always") {
    scheme.refuse("always, first or never");
  }
  if (!field.at("add_prefix_space").as_bool(true)) {
    if (!scheme.is_null() && prepend != Metaspace::Prepend::never) {
      scheme.refuse("never, since add_prefix_space is false,");
    }
    prepend = Metaspace::Prepend::never;
  }
  return std::make_unique<Metaspace>(field.at("replacement").as_character(), prepend,
                                     field.at("split").as_bool(true));
}

std::unique_ptr<const PreTokenizer> make_sequence(const JsonField& list) {
  std::vector<std::unique_ptr<const PreTokenizer>> parts;
  for (std::size_t i = 0; i < list.array_size(); ++i) {
    if (list.at(i).is_null()) list.at(i).refuse("a pre-tokenizer");
    parts.push_back(make_pre_tokenizer(list.at(i)));
  }
  return make_pre_tokenizer_sequence(std::move(parts));
}

}  // namespace

std::unique_ptr<const PreTokenizer> make_pre_tokenizer(const JsonField& field) {
  if (field.is_null()) return nullptr;
  const std::string type = field.type();
  if (type == "ByteLevel") {
    return make_byte_level_pre_tokenizer(field.at("add_prefix_space").as_bool(),
                                         field.at("use_regex").as_bool(true));
  }
  if (type == "Split") {
    const JsonField pattern = field.at("pattern");
    return std::make_unique<Split>(Pattern::from_json(pattern.value(), pattern.where()),
                                   split_behavior(field.at("behavior")),
                                   field.at("invert").as_bool());
  }
  if (type == "Digits") {
    return make_digits_pre_tokenizer(field.at("individual_digits").as_bool());
  }
  if (type == "CharDelimiterSplit") {
    return std::make_unique<CharDelimiterSplit>(
        code_point_at(field.at("delimiter").as_character(), 0).value);
  }
  if (type == "BertPreTokenizer") return std::make_unique<BertPreTokenizer>();
  if (type == "UnicodeScripts") return std::make_unique<UnicodeScripts>();
  if (type == "FixedLength") {
    const JsonField length = field.at("length");
    constexpr std::int64_t kLimit = std::int64_t{1} << 32;
    constexpr std::int64_t kDefault = 5;
    const std::int64_t characters = length.is_null() ? kDefault : length.as_index(kLimit);
    if (characters == 0) length.refuse("a length of at least 1");
    return std::make_unique<FixedLength>(characters);
  }
  if (type == "Whitespace") return std::make_unique<Whitespace>();
  if (type == "WhitespaceSplit") return std::make_unique<WhitespaceSplit>();
  if (type == "Punctuation") {
    const JsonField behavior = field.at("behavior");
    return std::make_unique<Punctuation>(behavior.is_null() ? SplitBehavior::isolated
                                                            : split_behavior(behavior));
  }
  if (type == "Metaspace") return make_metaspace(field);
  if (type == "Sequence") return make_sequence(field.at("pretokenizers"));
  field.at("type").refuse(
      "one of the pre-tokenizers ByteLevel, Metaspace, Split, Digits, Punctuation, Whitespace, "
      "WhitespaceSplit, CharDelimiterSplit, BertPreTokenizer, UnicodeScripts, FixedLength, "
      "Sequence");
}

std::unique_ptr<const PreTokenizer> make_byte_level_pre_tokenizer(bool add_prefix_space,
                                                                  bool use_regex) {
  return std::make_unique<ByteLevel>(add_prefix_space, use_regex);
}

std::unique_ptr<const PreTokenizer> make_regex_pre_tokenizer(std::string_view pattern,
                                                             const std::string& where) {
  return std::make_unique<Split>(Pattern::regex(pattern, where), SplitBehavior::isolated, false);
}

std::unique_ptr<const PreTokenizer> make_digits_pre_tokenizer(bool individual_digits) {
  return std::make_unique<Digits>(individual_digits);
}

std::unique_ptr<const PreTokenizer> make_pre_tokenizer_sequence(
    std::vector<std::unique_ptr<const PreTokenizer>> parts) {
  return std::make_unique<PreTokenizerSequence>(std::move(parts));
}

}  // namespace diffllama
