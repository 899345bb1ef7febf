#include "tokenizer/vocabulary.h"

#include <algorithm>
#include <limits>

#include "base/utf8.h"
#include "diffllama/error.h"

namespace diffllama {

std::string quote_token(std::string_view token) {
  const std::string text = replace_invalid_utf8(token.substr(0, 60));
  return '"' + text + (token.size() > 60 ? "...\"" : "\"");
}

void Vocabulary::add(std::string_view token, std::int64_t id) {
  if (id < 0 || id >= kTokenIdLimit) {
    throw FormatError(where_ + ": expected ids from 0 to " + std::to_string(kTokenIdLimit - 1) +
                      ", got " + std::to_string(id) + " for the token " + quote_token(token));
  }
  if (entries_.size() == kVocabularyLimit ||
      token.size() > std::numeric_limits<std::uint32_t>::max() - bytes_.size()) {
    throw FormatError(where_ + ": expected at most " + std::to_string(kVocabularyLimit) +
                      " tokens of 4 GiB together, got more");
  }
  const auto index = static_cast<std::size_t>(id);
  if (index >= entry_of_id_.size()) entry_of_id_.resize(index + 1);
  if (entry_of_id_[index] != 0) {
    throw FormatError(where_ + ": expected one token for each id, got " +
                      quote_token(text(entries_[entry_of_id_[index] - 1])) + " and " +
                      quote_token(token) + " for " + std::to_string(id));
  }
  entries_.push_back({static_cast<std::uint32_t>(bytes_.size()),
                      static_cast<std::uint32_t>(token.size()), static_cast<std::uint32_t>(id)});
  bytes_ += token;
  entry_of_id_[index] = static_cast<std::uint32_t>(entries_.size());
}

void Vocabulary::finish(bool largest_id_counts) {
  std::sort(entries_.begin(), entries_.end(), [&](const Entry& a, const Entry& b) {
    const int order = text(a).compare(text(b));
    return order != 0 ? order < 0 : a.id > b.id;
  });
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    entry_of_id_[entries_[i].id] = static_cast<std::uint32_t>(i + 1);
    if (!largest_id_counts && i > 0 && text(entries_[i - 1]) == text(entries_[i])) {
      throw FormatError(where_ + ": expected each token once, got " +
                        quote_token(text(entries_[i])) + " with the ids " +
                        std::to_string(entries_[i].id) + " and " +
                        std::to_string(entries_[i - 1].id));
    }
  }
}

std::vector<std::pair<std::string_view, std::int32_t>> Vocabulary::entries() const {
  std::vector<std::pair<std::string_view, std::int32_t>> all;
  all.reserve(entries_.size());
  for (const Entry& entry : entries_) {
    if (!all.empty() && all.back().first == text(entry)) continue;
    all.emplace_back(text(entry), static_cast<std::int32_t>(entry.id));
  }
  return all;
}

std::optional<std::uint32_t> Vocabulary::id_of(std::string_view token) const {
  const auto found =
      std::lower_bound(entries_.begin(), entries_.end(), token,
                       [&](const Entry& entry, std::string_view t) { return text(entry) < t; });
  if (found == entries_.end() || text(*found) != token) return std::nullopt;
  return found->id;
}

std::optional<std::string_view> Vocabulary::token_of(std::int64_t id) const {
  if (id < 0 || id >= id_limit()) return std::nullopt;
  const std::uint32_t entry = entry_of_id_[static_cast<std::size_t>(id)];
  if (entry == 0) return std::nullopt;
  return text(entries_[entry - 1]);
}

}  // namespace diffllama
