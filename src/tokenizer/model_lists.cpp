#include "tokenizer/model_lists.h"

#include <cstdint>
#include <utility>

#include "diffllama/error.h"

namespace diffllama {

void FlatReader::refuse(const std::string& found) const {
  throw FormatError(where_ + ": expected " + expected() + ", got " + found);
}

std::string VocabReader::expected() const {
  if (!is_there()) return "an object of ids by token, or an array of [token, score]";
  return is_array_ ? "an array of [token, score]" : "an object of ids by token";
}

bool VocabReader::start_object(std::size_t /*size*/) {
  if (is_there()) refuse("an object inside it");
  set_there();
  return true;
}

bool VocabReader::key(std::string& name) {
  token_ = std::move(name);
  return true;
}

bool VocabReader::start_array(std::size_t /*size*/) {
  if (is_there() && !is_array_) refuse("an array");
  set_there();
  is_array_ = true;
  if (++depth_ > 2) refuse("an array inside a piece");
  parts_ = 0;
  return true;
}

bool VocabReader::end_array() {
  if (depth_-- == 2 && parts_ != 2) refuse("an array of " + std::to_string(parts_));
  return true;
}

bool VocabReader::string(std::string& value) {
  if (!is_array_ || depth_ != 2 || parts_++ != 0) refuse(quote_token(value));
  vocabulary_.add(value, static_cast<std::int64_t>(scores_.size()));
  return true;
}

bool VocabReader::number_integer(number_integer_t value) {
  if (!is_array_) refuse(std::to_string(value));
  return add_score(static_cast<double>(value));
}

bool VocabReader::number_unsigned(number_unsigned_t value) {
  if (is_array_) return add_score(static_cast<double>(value));
  if (!is_there()) refuse(std::to_string(value));
  vocabulary_.add(token_, value < std::uint64_t{kTokenIdLimit} ? static_cast<std::int64_t>(value)
                                                               : kTokenIdLimit);
  return true;
}

bool VocabReader::number_float(number_float_t value, const std::string& text) {
  if (!is_array_) refuse(text.substr(0, 60));
  return add_score(value);
}

bool VocabReader::add_score(double value) {
  if (depth_ != 2 || parts_++ != 1) refuse(std::to_string(value));
  scores_.push_back(value);
  return true;
}

void VocabReader::check_kind(bool scores) const {
  if (is_array_ == scores) return;
  throw FormatError(vocabulary_.where() + ": expected " +
                    (scores ? "an array of [token, score], got an object"
                            : "an object of ids by token, got an array"));
}

Vocabulary VocabReader::take_vocabulary() {
  vocabulary_.finish();
  return std::move(vocabulary_);
}

bool MergesReader::start_array(std::size_t /*size*/) {
  set_there();
  if (++depth_ > 2) refuse("an array inside a merge");
  parts_ = 0;
  return true;
}

bool MergesReader::end_array() {
  if (depth_-- == 2 && parts_ != 2) refuse("an array of " + std::to_string(parts_));
  return true;
}

void MergesReader::add_part(std::string_view part) {
  bytes_ += part;
  ends_.push_back(bytes_.size());
}

bool MergesReader::string(std::string& value) {
  if (depth_ == 2) {
    if (++parts_ > 2) refuse("an array of more than 2");
    add_part(value);
    return true;
  }
  if (depth_ == 0) refuse(quote_token(value));
  if (value.starts_with("#version")) return true;  // the first line of a merges.txt
  const std::size_t space = value.find(' ');
  if (space == std::string::npos || value.find(' ', space + 1) != std::string::npos) {
    refuse(quote_token(value));
  }
  const std::string_view both = value;
  add_part(both.substr(0, space));
  add_part(both.substr(space + 1));
  return true;
}

}  // namespace diffllama
