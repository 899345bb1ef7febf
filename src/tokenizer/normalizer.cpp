#include "tokenizer/normalizer.h"

#include <string>
#include <utility>
#include <vector>

#include "tokenizer/expansion.h"
#include "tokenizer/pattern.h"
#include "tokenizer/unicode.h"
#include "tokenizer/unicode_normalization.h"

namespace diffllama {
namespace {

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
  if (type == "Lowercase") return std::make_unique<Lowercase>();
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
      "one of the normalizers NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace, Strip, Sequence");
}

}  // namespace diffllama
