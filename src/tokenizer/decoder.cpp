#include "tokenizer/decoder.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "base/utf8.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/expansion.h"
#include "tokenizer/pattern.h"

namespace diffllama {
namespace {

using Tokens = std::vector<std::string>;

class ByteLevelDecoder : public Decoder {
 public:
  Tokens apply(Tokens tokens, std::size_t /*most*/) const override {
    std::string bytes;
    for (const std::string& token : tokens) bytes += byte_level_token_bytes(token);
    return {replace_invalid_utf8(bytes)};
  }
  bool is_byte_level() const override { return true; }
};

class DecoderSequence : public Decoder {
 public:
  explicit DecoderSequence(std::vector<std::unique_ptr<const Decoder>> parts)
      : parts_(std::move(parts)) {}
  Tokens apply(Tokens tokens, std::size_t most) const override {
    for (const auto& part : parts_) tokens = part->apply(std::move(tokens), most);
    return tokens;
  }
  bool is_byte_level() const override { return parts_.size() == 1 && parts_[0]->is_byte_level(); }

 private:
  std::vector<std::unique_ptr<const Decoder>> parts_;
};

class ReplaceDecoder : public Decoder {
 public:
  ReplaceDecoder(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  Tokens apply(Tokens tokens, std::size_t most) const override {
    Pattern::Matcher matcher(pattern_);
    std::vector<Match> matches;
    std::size_t before = 0;  // bytes of the tokens before
    for (std::string& token : tokens) {
      matcher.find(token, matches);
      std::string replaced;
      for (const Match& match : matches) {
        replaced += match.matched ? content_ : token.substr(match.begin, match.end - match.begin);
        check_expansion(before + replaced.size(), most);
      }
      token = std::move(replaced);
      before += token.size();
    }
    return tokens;
  }

 private:
  Pattern pattern_;
  std::string content_;
};

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The byte of a token <0xXX>. Rust's number parser, the model here, takes <0x+A> too.
std::optional<char> fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  const int high = token[3] == '+' ? 0 : hex_digit(token[3]);
  const int low = hex_digit(token[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<char>(high * 16 + low);
}

class ByteFallback : public Decoder {
 public:
  Tokens apply(Tokens tokens, std::size_t /*most*/) const override {
    Tokens result;
    std::string bytes;
    // A run of byte tokens is text only if all of it is.
    const auto flush = [&] {
      if (bytes.empty()) return;
      if (replace_invalid_utf8(bytes) == bytes) {
        result.push_back(bytes);
      } else {
        result.insert(result.end(), bytes.size(), std::string(kReplacement));
      }
      bytes.clear();
    };
    for (std::string& token : tokens) {
      if (const auto byte = fallback_byte(token)) {
        bytes.push_back(*byte);
      } else {
        flush();
        result.push_back(std::move(token));
      }
    }
    flush();
    return result;
  }
};

class Fuse : public Decoder {
 public:
  Tokens apply(Tokens tokens, std::size_t /*most*/) const override {
    std::string fused;
    for (const std::string& token : tokens) fused += token;
    return {std::move(fused)};
  }
};

class StripDecoder : public Decoder {
 public:
  StripDecoder(std::string content, std::int64_t start, std::int64_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  Tokens apply(Tokens tokens, std::size_t /*most*/) const override {
    for (std::string& token : tokens) {
      std::string_view rest = token;
      for (std::int64_t i = 0; i < start_ && rest.starts_with(content_); ++i) {
        rest.remove_prefix(content_.size());
      }
      for (std::int64_t i = 0; i < stop_ && rest.ends_with(content_); ++i) {
        rest.remove_suffix(content_.size());
      }
      token = std::string(rest);
    }
    return tokens;
  }

 private:
  std::string content_;
  std::int64_t start_, stop_;
};

class MetaspaceDecoder : public Decoder {
 public:
  MetaspaceDecoder(std::string replacement, bool drops_first)
      : replacement_(std::move(replacement)), drops_first_(drops_first) {}
  Tokens apply(Tokens tokens, std::size_t /*most*/) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const std::string_view space = i == 0 && drops_first_ ? "" : " ";
      std::string text;
      const std::string& token = tokens[i];
      for (std::size_t at = 0; at < token.size();) {
        const std::size_t found = std::min(token.find(replacement_, at), token.size());
        text.append(token, at, found - at);
        if (found < token.size()) text += space;
        at = found + replacement_.size();
      }
      tokens[i] = std::move(text);
    }
    return tokens;
  }

 private:
  std::string replacement_;
  bool drops_first_;
};

std::string replace_all(const std::string& text, std::string_view from, std::string_view to) {
  if (from.empty()) return text;
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t found = std::min(text.find(from, at), text.size());
    result.append(text, at, found - at);
    if (found < text.size()) result += to;
    at = found + from.size();
  }
  return result;
}

class WordPieceDecoder : public Decoder {
 public:
  WordPieceDecoder(std::string prefix, bool cleanup)
      : prefix_(std::move(prefix)), cleanup_(cleanup) {}
  Tokens apply(Tokens tokens, std::size_t /*most*/) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      std::string& token = tokens[i];
      if (i > 0 && token.starts_with(prefix_)) {
        token.erase(0, prefix_.size());
      } else if (i > 0) {
        token.insert(token.begin(), ' ');
      }
      if (cleanup_) clean_up(token);
    }
    return tokens;
  }

 private:
  // Undoes blanks that a tokenizer put before punctuation and contractions.
  static void clean_up(std::string& token) {
    static constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kRules = {
        {{" .", "."},
         {" ?", "?"},
         {" !", "!"},
         {" ,", ","},
         {" ' ", "'"},
         {" n't", "n't"},
         {" 'm", "'m"},
         {" do not", " don't"},
         {" 's", "'s"},
         {" 've", "'ve"},
         {" 're", "'re"}}};
    for (const auto& [from, to] : kRules) token = replace_all(token, from, to);
  }

  std::string prefix_;
  bool cleanup_;
};

class BpeDecoder : public Decoder {
 public:
  explicit BpeDecoder(std::string suffix) : suffix_(std::move(suffix)) {}
  Tokens apply(Tokens tokens, std::size_t /*most*/) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = replace_all(tokens[i], suffix_, i + 1 == tokens.size() ? "" : " ");
    }
    return tokens;
  }

 private:
  std::string suffix_;
};

std::unique_ptr<const Decoder> make_sequence(const JsonField& list) {
  std::vector<std::unique_ptr<const Decoder>> parts;
  for (std::size_t i = 0; i < list.array_size(); ++i) {
    if (list.at(i).is_null()) list.at(i).refuse("a decoder");
    parts.push_back(make_decoder(list.at(i)));
  }
  return std::make_unique<DecoderSequence>(std::move(parts));
}

}  // namespace

std::string byte_level_token_bytes(const std::string& token) {
  return byte_level_bytes(token).value_or(token);
}

std::unique_ptr<const Decoder> make_byte_level_decoder() {
  return std::make_unique<ByteLevelDecoder>();
}

std::unique_ptr<const Decoder> make_decoder(const JsonField& field) {
  if (field.is_null()) return nullptr;
  constexpr std::int64_t kMaxCount = std::int64_t{1} << 32;
  const std::string type = field.type();
  if (type == "ByteLevel") return make_byte_level_decoder();
  if (type == "Sequence") return make_sequence(field.at("decoders"));
  if (type == "Replace") {
    const JsonField pattern = field.at("pattern");
    return std::make_unique<ReplaceDecoder>(Pattern::from_json(pattern.value(), pattern.where()),
                                            field.at("content").as_string());
  }
  if (type == "ByteFallback") return std::make_unique<ByteFallback>();
  if (type == "WordPiece") {
    return std::make_unique<WordPieceDecoder>(field.at("prefix").as_string(),
                                              field.at("cleanup").as_bool());
  }
  if (type == "BPEDecoder") return std::make_unique<BpeDecoder>(field.at("suffix").as_string());
  if (type == "Fuse") return std::make_unique<Fuse>();
  if (type == "Strip") {
    return std::make_unique<StripDecoder>(field.at("content").as_character(),
                                          field.at("start").as_index(kMaxCount),
                                          field.at("stop").as_index(kMaxCount));
  }
  if (type == "Metaspace") {
    return std::make_unique<MetaspaceDecoder>(
        field.at("replacement").as_character(),
        field.at("prepend_scheme").as_string("always") != "never" &&
            field.at("add_prefix_space").as_bool(true));
  }
  field.at("type").refuse(
      "one of the decoders ByteLevel, Metaspace, ByteFallback, Fuse, Strip, Replace, WordPiece, "
      "BPEDecoder, Sequence (no text is made of CTC's tokens here)");
}

}  // namespace diffllama
