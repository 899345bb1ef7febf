#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "tokenizer/vocabulary.h"

namespace diffllama {

/// Reads a flat JSON object or an array of short arrays as a stream: each kind takes the events
/// that it expects, and refuses the others.
class FlatReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { refuse("null"); }
  bool boolean(bool /*value*/) override { refuse("a boolean"); }
  bool number_integer(number_integer_t value) override { refuse(std::to_string(value)); }
  bool number_unsigned(number_unsigned_t value) override { refuse(std::to_string(value)); }
  bool number_float(number_float_t /*value*/, const std::string& text) override {
    refuse(text.substr(0, 60));
  }
  bool string(std::string& value) override { refuse(quote_token(value)); }
  bool binary(nlohmann::json::binary_t& /*value*/) override { refuse("binary data"); }
  bool start_object(std::size_t /*size*/) override { refuse("an object"); }
  bool end_object() override { return true; }
  bool start_array(std::size_t /*size*/) override { refuse("an array"); }
  bool end_array() override { return true; }
  bool key(std::string& name) override { refuse("the key " + quote_token(name)); }
  bool parse_error(std::size_t /*position*/, const std::string& /*token*/,
                   const nlohmann::json::exception& /*error*/) override {
    return false;
  }

  /// The document has this member.
  bool is_there() const { return is_there_; }

 protected:
  explicit FlatReader(std::string where) : where_(std::move(where)) {}
  /// Throws FormatError "WHERE: expected EXPECTED, got FOUND".
  [[noreturn]] void refuse(const std::string& found) const;
  virtual std::string expected() const = 0;
  void set_there() { is_there_ = true; }

 private:
  std::string where_;
  bool is_there_ = false;
};

/// "vocab" of a tokenizer.json's model: an object of ids by token, or for a unigram model an array
/// of [token, score], ids in order.
class VocabReader : public FlatReader {
 public:
  /// `where` stands for it in messages.
  explicit VocabReader(const std::string& where) : FlatReader(where), vocabulary_(where) {}

  bool number_integer(number_integer_t value) override;
  bool number_unsigned(number_unsigned_t value) override;
  bool number_float(number_float_t value, const std::string& text) override;
  bool string(std::string& value) override;
  bool start_object(std::size_t size) override;
  bool start_array(std::size_t size) override;
  bool end_array() override;
  bool key(std::string& name) override;

  bool has_scores() const { return is_array_; }
  /// Throws FormatError unless it is the array (`scores`) or the object.
  void check_kind(bool scores) const;
  /// What was read, moved out. Throws FormatError for a token with two ids.
  Vocabulary take_vocabulary();
  std::vector<double> take_scores() { return std::move(scores_); }

 private:
  std::string expected() const override;
  bool add_score(double value);

  Vocabulary vocabulary_;
  std::vector<double> scores_;
  std::string token_;
  bool is_array_ = false;
  int depth_ = 0;  // containers that are open
  int parts_ = 0;  // of the piece so far
};

/// "merges" of a tokenizer.json's model: an array of "a b" or ["a", "b"].
class MergesReader : public FlatReader {
 public:
  explicit MergesReader(const std::string& where) : FlatReader(where) {}

  bool string(std::string& value) override;
  bool start_array(std::size_t size) override;
  bool end_array() override;

  /// Calls add(left, right) for each.
  template <class Add>
  void for_each(const Add& add) const {
    const std::string_view bytes = bytes_;
    for (std::size_t i = 0, begin = 0; i + 1 < ends_.size(); begin = ends_[i + 1], i += 2) {
      add(bytes.substr(begin, ends_[i] - begin), bytes.substr(ends_[i], ends_[i + 1] - ends_[i]));
    }
  }

 private:
  std::string expected() const override { return R"(an array of merges, "a b" or ["a", "b"])"; }
  void add_part(std::string_view part);

  std::string bytes_;  // the parts, one behind the other
  std::vector<std::size_t> ends_;
  int depth_ = 0;
  int parts_ = 0;  // of the merge so far
};

/// The two members of a tokenizer.json that have hundreds of thousands of elements: they are read
/// while the rest becomes a document, in which they are null.
struct ModelLists {
  /// `where` stands for the file in messages.
  explicit ModelLists(const std::string& where)
      : vocab(where + ": model.vocab"), merges(where + ": model.merges") {}
  JsonReaders readers() { return {{"model.vocab", &vocab}, {"model.merges", &merges}}; }

  VocabReader vocab;
  MergesReader merges;
};

}  // namespace diffllama
