#include "tokenizer/model_json.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "diffllama/error.h"
#include "tokenizer/bpe.h"
#include "tokenizer/unigram.h"
#include "tokenizer/word_level.h"
#include "tokenizer/word_piece.h"

namespace diffllama {
namespace {

using nlohmann::json;

/// Reads a flat object or an array of short arrays as a stream.
class FlatReader {
 public:
  FlatReader(std::string where, std::string expected)
      : where_(std::move(where)), expected_(std::move(expected)) {}
  virtual ~FlatReader() = default;

  void read(std::string_view text) { json::sax_parse(text.begin(), text.end(), this); }

  // nlohmann's SAX interface; each reader takes the events that it expects.
  virtual bool null() { refuse("null"); }
  virtual bool boolean(bool /*value*/) { refuse("a boolean"); }
  virtual bool number_integer(json::number_integer_t value) { refuse(std::to_string(value)); }
  virtual bool number_unsigned(json::number_unsigned_t value) { refuse(std::to_string(value)); }
  virtual bool number_float(json::number_float_t /*value*/, const std::string& text) {
    refuse(text.substr(0, 60));
  }
  virtual bool string(std::string& value) { refuse(quote_token(value)); }
  virtual bool binary(json::binary_t& /*value*/) { refuse("binary data"); }
  virtual bool start_object(std::size_t /*size*/) { refuse("an object"); }
  virtual bool end_object() { return true; }
  virtual bool start_array(std::size_t /*size*/) { refuse("an array"); }
  virtual bool end_array() { return true; }
  virtual bool key(std::string& name) { refuse("the key " + quote_token(name)); }
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const json::exception& error) {
    throw FormatError(where_ + ": expected JSON, got an error at byte " + std::to_string(position) +
                      ": " + std::string(error.what()).substr(0, 200));
  }

 protected:
  [[noreturn]] void refuse(const std::string& found) const {
    throw FormatError(where_ + ": expected " + expected_ + ", got " + found);
  }

 private:
  std::string where_, expected_;
};

class VocabReader : public FlatReader {
 public:
  explicit VocabReader(Vocabulary& vocabulary)
      : FlatReader(vocabulary.where(), "an object of ids by token"), vocabulary_(vocabulary) {}
  bool start_object(std::size_t /*size*/) override {
    if (std::exchange(open_, true)) refuse("an object inside it");
    return true;
  }
  bool key(std::string& name) override {
    token_ = std::move(name);
    return true;
  }
  bool number_unsigned(json::number_unsigned_t value) override {
    if (!open_) refuse(std::to_string(value));
    vocabulary_.add(token_, value < std::uint64_t{kTokenIdLimit} ? static_cast<std::int64_t>(value)
                                                                 : kTokenIdLimit);
    return true;
  }

 private:
  Vocabulary& vocabulary_;
  std::string token_;
  bool open_ = false;
};

/// [["token", score], ...], ids in order.
class PiecesReader : public FlatReader {
 public:
  PiecesReader(Vocabulary& vocabulary, std::vector<double>& scores)
      : FlatReader(vocabulary.where(), "an array of [token, score]"),
        vocabulary_(vocabulary),
        scores_(scores) {}
  bool start_array(std::size_t /*size*/) override {
    if (++depth_ > 2) refuse("an array inside a piece");
    parts_ = 0;
    return true;
  }
  bool end_array() override {
    if (depth_-- == 2 && parts_ != 2) refuse("an array of " + std::to_string(parts_));
    return true;
  }
  bool string(std::string& value) override {
    if (depth_ != 2 || parts_++ != 0) refuse(quote_token(value));
    vocabulary_.add(value, static_cast<std::int64_t>(scores_.size()));
    return true;
  }
  bool number_integer(json::number_integer_t value) override {
    return score(static_cast<double>(value));
  }
  bool number_unsigned(json::number_unsigned_t value) override {
    return score(static_cast<double>(value));
  }
  bool number_float(json::number_float_t value, const std::string& /*text*/) override {
    return score(value);
  }

 private:
  bool score(double value) {
    if (depth_ != 2 || parts_++ != 1) refuse(std::to_string(value));
    scores_.push_back(value);
    return true;
  }

  Vocabulary& vocabulary_;
  std::vector<double>& scores_;
  int depth_ = 0;
  int parts_ = 0;
};

class MergesReader : public FlatReader {
 public:
  MergesReader(Bpe& model, const std::string& where)
      : FlatReader(where, R"(an array of merges, "a b" or ["a", "b"])"), model_(model) {}
  bool start_array(std::size_t /*size*/) override {
    if (++depth_ > 2) refuse("an array inside a merge");
    parts_ = 0;
    return true;
  }
  bool end_array() override {
    if (depth_-- == 2) {
      if (parts_ != 2) refuse("an array of " + std::to_string(parts_));
      model_.add_merge(left_, right_);
    }
    return true;
  }
  bool string(std::string& value) override {
    if (depth_ == 2) {
      if (++parts_ > 2) refuse("an array of more than 2");
      (parts_ == 1 ? left_ : right_) = std::move(value);
      return true;
    }
    if (depth_ == 0) refuse(quote_token(value));
    if (value.starts_with("#version")) return true;  // the first line of a merges.txt
    const std::size_t space = value.find(' ');
    if (space == std::string::npos || value.find(' ', space + 1) != std::string::npos) {
      refuse(quote_token(value));
    }
    const std::string_view both = value;
    model_.add_merge(both.substr(0, space), both.substr(space + 1));
    return true;
  }

 private:
  Bpe& model_;
  std::string left_, right_;
  int depth_ = 0;
  int parts_ = 0;
};

Vocabulary read_vocabulary(const JsonField& field, const TokenizerJsonParts& parts) {
  Vocabulary vocabulary(field.where() + ".vocab");
  VocabReader(vocabulary).read(*parts.vocab);
  vocabulary.finish();
  return vocabulary;
}

std::unique_ptr<const TokenizerModel> make_bpe(const JsonField& field,
                                               const TokenizerJsonParts& parts) {
  if (!parts.vocab || !parts.merges) field.refuse("a vocab and merges");
  const JsonField dropout = field.at("dropout");
  if (!dropout.is_null() && dropout.value() != 0.0) {
    dropout.refuse("no dropout, which would make ids random");
  }
  BpeOptions options;
  if (const JsonField unk = field.at("unk_token"); !unk.is_null()) {
    options.unk_token = unk.as_string();
  }
  options.continuing_subword_prefix = field.at("continuing_subword_prefix").as_string("");
  options.end_of_word_suffix = field.at("end_of_word_suffix").as_string("");
  options.fuse_unk = field.at("fuse_unk").as_bool(false);
  options.byte_fallback = field.at("byte_fallback").as_bool(false);
  options.ignore_merges = field.at("ignore_merges").as_bool(false);
  auto model = std::make_unique<Bpe>(read_vocabulary(field, parts), std::move(options));
  MergesReader(*model, field.where() + ".merges").read(*parts.merges);
  return model;
}

std::unique_ptr<const TokenizerModel> make_unigram(const JsonField& field,
                                                   const TokenizerJsonParts& parts) {
  if (!parts.vocab) field.refuse("a vocab");
  Vocabulary vocabulary(field.where() + ".vocab");
  std::vector<double> scores;
  PiecesReader(vocabulary, scores).read(*parts.vocab);
  vocabulary.finish();
  UnigramOptions options;
  if (const JsonField unk = field.at("unk_id"); !unk.is_null()) {
    options.unk_id = static_cast<std::uint32_t>(unk.as_index(kTokenIdLimit));
  }
  options.byte_fallback = field.at("byte_fallback").as_bool(false);
  return std::make_unique<Unigram>(std::move(vocabulary), std::move(scores), options);
}

std::unique_ptr<const TokenizerModel> make_word_piece(const JsonField& field,
                                                      const TokenizerJsonParts& parts) {
  if (!parts.vocab) field.refuse("a vocab");
  WordPieceOptions options;
  options.unk_token = field.at("unk_token").as_string(options.unk_token);
  options.continuing_subword_prefix =
      field.at("continuing_subword_prefix").as_string(options.continuing_subword_prefix);
  if (const JsonField most = field.at("max_input_chars_per_word"); !most.is_null()) {
    constexpr std::int64_t kLimit = std::int64_t{1} << 53;
    options.max_input_chars_per_word = static_cast<std::uint64_t>(most.as_index(kLimit));
  }
  return std::make_unique<WordPiece>(read_vocabulary(field, parts), std::move(options));
}

std::unique_ptr<const TokenizerModel> make_word_level(const JsonField& field,
                                                      const TokenizerJsonParts& parts) {
  if (!parts.vocab) field.refuse("a vocab");
  return std::make_unique<WordLevel>(read_vocabulary(field, parts),
                                     field.at("unk_token").as_string("<unk>"));
}

// Old files lack the type.
std::string type_of(const JsonField& field, const TokenizerJsonParts& parts) {
  const JsonField type = field.at("type");
  if (!type.is_null()) return type.as_string();
  if (parts.vocab && !parts.merges) {
    if (parts.vocab->starts_with('[')) return "Unigram";
    if (!field.at("max_input_chars_per_word").is_null()) return "WordPiece";
    if (!field.at("unk_token").is_null()) return "WordLevel";
  }
  return "BPE";
}

}  // namespace

std::unique_ptr<const TokenizerModel> make_model(const JsonField& field,
                                                 const TokenizerJsonParts& parts) {
  const std::string type = type_of(field, parts);
  if (type == "BPE") return make_bpe(field, parts);
  if (type == "Unigram") return make_unigram(field, parts);
  if (type == "WordPiece") return make_word_piece(field, parts);
  if (type == "WordLevel") return make_word_level(field, parts);
  field.at("type").refuse("one of the models BPE, Unigram, WordPiece, WordLevel");
}

}  // namespace diffllama
