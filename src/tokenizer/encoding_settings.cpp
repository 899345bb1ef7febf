#include "tokenizer/encoding_settings.h"

#include <algorithm>
#include <limits>
#include <string>

#include "diffllama/error.h"
#include "tokenizer/vocabulary.h"

namespace diffllama {
namespace {

// Bounds the memory that a file can ask for.
constexpr std::int64_t kLengthLimit = std::int64_t{1} << 24;

bool is_left(const JsonField& field) {
  const std::string name = field.as_string("Right");
  if (name != "Left" && name != "Right") field.refuse("Left or Right");
  return name == "Left";
}

void cut(std::size_t length, bool from_left, EncodedSequence& sequence) {
  std::vector<EncodedToken>& tokens = sequence.tokens;
  if (length >= tokens.size()) return;
  const auto removed = static_cast<std::ptrdiff_t>(tokens.size() - length);
  if (from_left) {
    tokens.erase(tokens.begin(), tokens.begin() + removed);
  } else {
    tokens.resize(length);
  }
}

// The lengths of a pair: the longer one is cut to the other's, and then both alike.
void cut_pair(std::size_t most, bool from_left, std::vector<EncodedSequence>& sequences) {
  std::size_t shorter = std::min(sequences[0].tokens.size(), sequences[1].tokens.size());
  std::size_t longer = shorter > most ? shorter : std::max(shorter, most - shorter);
  if (shorter + longer > most) {
    shorter = most / 2;
    longer = shorter + most % 2;
  }
  const bool first_is_longer = sequences[0].tokens.size() > sequences[1].tokens.size();
  cut(first_is_longer ? longer : shorter, from_left, sequences[0]);
  cut(first_is_longer ? shorter : longer, from_left, sequences[1]);
}

template <class List, class Value>
void insert(List& list, bool on_left, std::size_t count, const Value& value) {
  list.insert(on_left ? list.begin() : list.end(), count, value);
}

}  // namespace

std::optional<Truncation> read_truncation(const JsonField& field) {
  if (field.is_null()) return std::nullopt;
  Truncation truncation;
  truncation.max_length = static_cast<std::size_t>(
      field.at("max_length").as_index(std::numeric_limits<std::int64_t>::max()));
  truncation.from_left = is_left(field.at("direction"));
  const JsonField strategy = field.at("strategy");
  const std::string name = strategy.as_string();
  if (name == "OnlyFirst") {
    truncation.strategy = Truncation::Strategy::only_first;
  } else if (name == "OnlySecond") {
    truncation.strategy = Truncation::Strategy::only_second;
  } else if (name != "LongestFirst") {
    strategy.refuse("LongestFirst, OnlyFirst or OnlySecond");
  }
  return truncation;
}

std::optional<Padding> read_padding(const JsonField& field) {
  if (field.is_null()) return std::nullopt;
  Padding padding;
  const JsonField strategy = field.at("strategy");
  if (strategy.value().is_object()) {
    padding.length = static_cast<std::size_t>(strategy.at("Fixed").as_index(kLengthLimit));
  } else if (strategy.as_string() != "BatchLongest") {
    strategy.refuse(R"("BatchLongest" or {"Fixed": length})");
  }
  if (const JsonField multiple = field.at("pad_to_multiple_of"); !multiple.is_null()) {
    padding.multiple_of = static_cast<std::size_t>(multiple.as_index(kLengthLimit));
  }
  padding.on_left = is_left(field.at("direction"));
  padding.pad_id = field.at("pad_id").as_index(kTokenIdLimit);
  padding.pad_type_id = field.at("pad_type_id").as_index(std::int64_t{1} << 31);
  return padding;
}

void truncate(const Truncation& truncation, std::size_t added,
              std::vector<EncodedSequence>& sequences) {
  if (truncation.max_length < added) return;
  const std::size_t most = truncation.max_length - added;
  std::size_t total = 0;
  for (const EncodedSequence& sequence : sequences) total += sequence.tokens.size();
  if (total <= most) return;
  if (most == 0) {
    for (EncodedSequence& sequence : sequences) sequence.tokens.clear();
    return;
  }
  if (truncation.strategy == Truncation::Strategy::longest_first) {
    if (sequences.size() == 2) return cut_pair(most, truncation.from_left, sequences);
    return cut(most, truncation.from_left, sequences[0]);
  }
  const std::size_t target = truncation.strategy == Truncation::Strategy::only_first ? 0 : 1;
  const std::size_t excess = total - most;
  if (target >= sequences.size() || sequences[target].tokens.size() <= excess) {
    throw InvalidArgument("expected a " + std::string(target == 0 ? "first" : "second") +
                          " text of more than " + std::to_string(excess) +
                          " tokens to cut off for max_length " +
                          std::to_string(truncation.max_length) + ", got " +
                          std::to_string(target < sequences.size() ? sequences[target].tokens.size()
                                                                   : std::size_t{0}));
  }
  cut(sequences[target].tokens.size() - excess, truncation.from_left, sequences[target]);
}

std::size_t padded_length(const Padding& padding, std::size_t longest) {
  std::size_t length = padding.length.value_or(longest);
  if (padding.multiple_of > 1 && length % padding.multiple_of > 0) {
    length += padding.multiple_of - length % padding.multiple_of;
  }
  return length;
}

void pad(const Padding& padding, std::size_t length, Encoding& encoding) {
  if (length <= encoding.ids.size()) return;
  const std::size_t count = length - encoding.ids.size();
  const bool left = padding.on_left;
  insert(encoding.ids, left, count, padding.pad_id);
  insert(encoding.type_ids, left, count, padding.pad_type_id);
  insert(encoding.offsets, left, count, TokenOffset{});
  insert(encoding.word_ids, left, count, -1);
  insert(encoding.sequence_ids, left, count, -1);
  insert(encoding.special_tokens_mask, left, count, std::uint8_t{1});
  insert(encoding.attention_mask, left, count, std::uint8_t{0});
}

}  // namespace diffllama
