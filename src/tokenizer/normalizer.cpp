#include "tokenizer/normalizer.h"

#include <string>
#include <utility>
#include <vector>

#include "base/utf8.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/expansion.h"
#include "tokenizer/pattern.h"
#include "tokenizer/precompiled_normalizer.h"
#include "tokenizer/unicode.h"
#include "tokenizer/unicode_normalization.h"

namespace diffllama {
namespace {

constexpr char32_t kDropped = 0xFFFFFFFF;

class UnicodeNormalizer : public Normalizer {
 public:
  explicit UnicodeNormalizer(NormalizationForm form) : form_(form) {}
  AlignedText apply(AlignedText text, std::size_t most) const override {
    AlignedText result = normalize_unicode(std::move(text), form_);
    check_expansion(result.size(), most);
    return result;
  }

 private:
  NormalizationForm form_;
};

class Lowercase : public Normalizer {
 public:
  AlignedText apply(AlignedText text, std::size_t most) const override {
    AlignedEdit edit(text);
    std::u32string lower;
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint c = code_point_at(text.text(), at);
      at += c.length;
      lower.clear();
      append_lowercase(lower, c.value);
      for (std::size_t i = 0; i < lower.size(); ++i) edit.put(lower[i], i > 0);
    }
    AlignedText result = edit.finish();
    check_expansion(result.size(), most);
    return result;
  }
};

// Keeps, changes (to one character) or, for kDropped, leaves out each character by itself.
template <char32_t (*map)(char32_t)>
class MapCharacters : public Normalizer {
 public:
  AlignedText apply(AlignedText text, std::size_t /*most*/) const override {
    AlignedEdit edit(text);
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint c = code_point_at(text.text(), at);
      at += c.length;
      const char32_t mapped = map(c.value);
      if (mapped == kDropped) {
        edit.drop();
      } else {
        edit.put(mapped, 0);
      }
    }
    return edit.finish();
  }
};

// What neural machine translation removes (controls) and takes for blanks.
char32_t map_for_translation(char32_t c) {
  if ((c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F ||
      c == 0x9F) {
    return kDropped;
  }
  const bool blank = c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
                     (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                     c == 0xFEFF || c == 0xFFFD;
  return blank ? U' ' : c;
}

char32_t drop_marks(char32_t c) { return is_mark(c) ? kDropped : c; }
char32_t drop_nonspacing_marks(char32_t c) { return is_nonspacing_mark(c) ? kDropped : c; }

// BERT's cleaning: no controls, every whitespace a blank.
char32_t clean_for_bert(char32_t c) {
  if (c == '\t' || c == '\n' || c == '\r') return U' ';
  if (c == 0 || c == 0xFFFD || is_other(c)) return kDropped;
  return is_whitespace(c) ? U' ' : c;
}

// The blocks of CJK ideographs, which BERT takes for words of one character.
bool is_ideograph(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

class BertNormalizer : public Normalizer {
 public:
  struct Options {
    bool clean_text, handle_chinese_chars, strip_accents, lowercase;
  };
  explicit BertNormalizer(Options options) : options_(options) {}
  AlignedText apply(AlignedText text, std::size_t most) const override {
    if (options_.clean_text) text = MapCharacters<clean_for_bert>().apply(std::move(text), most);
    if (options_.handle_chinese_chars) text = space_ideographs(text);
    if (options_.strip_accents) {
      text = normalize_unicode(std::move(text), NormalizationForm::nfd);
      text = MapCharacters<drop_nonspacing_marks>().apply(std::move(text), most);
    }
    if (options_.lowercase) text = Lowercase().apply(std::move(text), most);
    return text;
  }

 private:
  static AlignedText space_ideographs(const AlignedText& text) {
    AlignedEdit edit(text);
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint c = code_point_at(text.text(), at);
      at += c.length;
      if (is_ideograph(c.value)) {
        edit.put(U' ', 0);
        edit.put(c.value, 1);
        edit.put(U' ', 1);
      } else {
        edit.keep(c.length);
      }
    }
    return edit.finish();
  }

  Options options_;
};

class ByteLevelNormalizer : public Normalizer {
 public:
  AlignedText apply(AlignedText text, std::size_t most) const override {
    AlignedText result(std::string(), text.origin());
    for (std::size_t at = 0; at < text.size(); ++at) {
      check_expansion(result.size(), most);
      const auto byte = static_cast<unsigned char>(text.text()[at]);
      result.append(byte_level_character(byte), text.source(at, at + 1));
    }
    return result;
  }
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  AlignedText apply(AlignedText text, std::size_t most) const override {
    if (text.empty()) return text;
    check_expansion(prefix_.size() + text.size(), most);
    AlignedText result(std::string(), text.origin());
    // The prefix stands for the first character.
    result.append(prefix_, text.source(0, 1));
    result.append(text, 0, text.size());
    return result;
  }

 private:
  std::string prefix_;
};

class Append : public Normalizer {
 public:
  explicit Append(std::string suffix) : suffix_(std::move(suffix)) {}
  AlignedText apply(AlignedText text, std::size_t most) const override {
    if (text.empty()) return text;
    check_expansion(suffix_.size() + text.size(), most);
    // The suffix stands for the last character.
    const Span last = text.source(text.size() - 1, text.size());
    text.append(suffix_, last);
    return text;
  }

 private:
  std::string suffix_;
};

class Replace : public Normalizer {
 public:
  Replace(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  AlignedText apply(AlignedText text, std::size_t most) const override {
    std::vector<Match> matches;
    Pattern::Matcher(pattern_).find(text.text(), matches);
    AlignedText result(std::string(), text.origin());
    for (const Match& match : matches) {
      if (!match.matched) {
        result.append(text, match.begin, match.end);
        check_expansion(result.size(), most);
      } else if (!content_.empty()) {
        check_expansion(result.size() + content_.size(), most);
        // What replaces a match stands for its last character.
        const Span nothing{text.origin(), text.origin()};
        result.append(content_, match.end == 0 ? nothing : text.source(match.end - 1, match.end));
      }
    }
    return result;
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class Strip : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  AlignedText apply(AlignedText text, std::size_t /*most*/) const override {
    std::size_t begin = text.size();
    std::size_t end = 0;
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint c = code_point_at(text.text(), at);
      if (!is_whitespace(c.value)) {
        begin = std::min(begin, at);
        end = at + c.length;
      }
      at += c.length;
    }
    if (!left_) begin = 0;
    if (!right_) end = text.size();
    return text.slice(begin, std::max(begin, end));
  }

 private:
  bool left_, right_;
};

class NormalizerSequence : public Normalizer {
 public:
  explicit NormalizerSequence(std::vector<std::unique_ptr<const Normalizer>> parts)
      : parts_(std::move(parts)) {}
  AlignedText apply(AlignedText text, std::size_t most) const override {
    for (const auto& part : parts_) text = part->apply(std::move(text), most);
    return text;
  }

 private:
  std::vector<std::unique_ptr<const Normalizer>> parts_;
};

std::unique_ptr<const Normalizer> make_bert_normalizer(const JsonField& field) {
  BertNormalizer::Options options{};
  options.clean_text = field.at("clean_text").as_bool();
  options.handle_chinese_chars = field.at("handle_chinese_chars").as_bool();
  options.lowercase = field.at("lowercase").as_bool();
  options.strip_accents = field.at("strip_accents").as_bool(options.lowercase);
  return std::make_unique<BertNormalizer>(options);
}

std::unique_ptr<const Normalizer> make_sequence(const JsonField& list) {
  std::vector<std::unique_ptr<const Normalizer>> parts;
  for (std::size_t i = 0; i < list.array_size(); ++i) {
    if (list.at(i).is_null()) list.at(i).refuse("a normalizer");
    parts.push_back(make_normalizer(list.at(i)));
  }
  return std::make_unique<NormalizerSequence>(std::move(parts));
}

}  // namespace

std::unique_ptr<const Normalizer> make_normalizer(const JsonField& field) {
  if (field.is_null()) return nullptr;
  const std::string type = field.type();
  if (type == "NFC") return std::make_unique<UnicodeNormalizer>(NormalizationForm::nfc);
  if (type == "NFD") return std::make_unique<UnicodeNormalizer>(NormalizationForm::nfd);
  if (type == "NFKC") return std::make_unique<UnicodeNormalizer>(NormalizationForm::nfkc);
  if (type == "NFKD") return std::make_unique<UnicodeNormalizer>(NormalizationForm::nfkd);
  if (type == "Nmt") return std::make_unique<MapCharacters<map_for_translation>>();
  if (type == "Lowercase") return std::make_unique<Lowercase>();
  if (type == "StripAccents") return std::make_unique<MapCharacters<drop_marks>>();
  if (type == "ByteLevel") return std::make_unique<ByteLevelNormalizer>();
  if (type == "BertNormalizer") return make_bert_normalizer(field);
  if (type == "Precompiled") return make_precompiled_normalizer(field.at("precompiled_charsmap"));
  if (type == "Append") return std::make_unique<Append>(field.at("append").as_string());
  if (type == "Prepend") return std::make_unique<Prepend>(field.at("prepend").as_string());
  if (type == "Strip") {
    return std::make_unique<Strip>(field.at("strip_left").as_bool(),
                                   field.at("strip_right").as_bool());
  }
  if (type == "Replace") {
    const JsonField pattern = field.at("pattern");
    return std::make_unique<Replace>(Pattern::from_json(pattern.value(), pattern.where()),
                                     field.at("content").as_string());
  }
  if (type == "Sequence") return make_sequence(field.at("normalizers"));
  field.at("type").refuse(
      "one of the normalizers NFC, NFD, NFKC, NFKD, Nmt, Lowercase, StripAccents, Strip, Prepend, "
      "Append, Replace, Precompiled, BertNormalizer, ByteLevel, Sequence");
}

}  // namespace diffllama
