#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace diffllama {

/// Ids are below this: real vocabularies have at most some hundred thousand tokens, and tables are
/// sized by the largest id.
inline constexpr std::int64_t kTokenIdLimit = std::int64_t{1} << 24;
/// Most tokens, and most merges, that one vocabulary may have.
inline constexpr std::size_t kVocabularyLimit = std::size_t{1} << 22;

/// A token as an error message shows it: at most 60 bytes, in quotes.
std::string quote_token(std::string_view token);

/// A model's tokens and their ids. Tokens may hold any bytes.
class Vocabulary {
 public:
  /// `where` begins the message of each FormatError.
  explicit Vocabulary(std::string where) : where_(std::move(where)) {}

  /// Throws FormatError for an id that is taken or too large, and for too many tokens.
  void add(std::string_view token, std::int64_t id);
  /// Readies look-ups, once every token is in. Throws FormatError for a token with two ids, unless
  /// its largest id is to be the one that is found.
  void finish(bool largest_id_counts = false);

  std::optional<std::uint32_t> id_of(std::string_view token) const;
  /// The token of an id, which may be any number; nothing for an id that is not used.
  std::optional<std::string_view> token_of(std::int64_t id) const;
  /// All tokens with the ids that id_of gives.
  std::vector<std::pair<std::string_view, std::int32_t>> entries() const;
  std::size_t size() const { return entries_.size(); }
  /// One past the largest id.
  std::int64_t id_limit() const { return static_cast<std::int64_t>(entry_of_id_.size()); }
  const std::string& where() const { return where_; }

 private:
  struct Entry {
    std::uint32_t begin, length;  // in bytes_
    std::uint32_t id;
  };
  std::string_view text(const Entry& entry) const {
    return std::string_view(bytes_).substr(entry.begin, entry.length);
  }

  std::string where_;
  std::string bytes_;
  std::vector<Entry> entries_;              // by token, once finished
  std::vector<std::uint32_t> entry_of_id_;  // index into entries_ plus 1; 0: no token
};

}  // namespace diffllama
