#include "tokenizer/precompiled_normalizer.h"

#include <utf8proc.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "base/base64.h"
#include "base/utf8.h"
#include "diffllama/error.h"
#include "tokenizer/expansion.h"

namespace diffllama {
namespace {

std::uint32_t little_endian(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 4; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

/// The table: the size of a double array (Aoe 1989, as the Darts-clone library writes it), the
/// array, and the texts that its values point at, each ended by a NUL.
class CharsMap {
 public:
  CharsMap(std::string_view bytes, const std::string& where) {
    if (bytes.empty()) return;
    const std::size_t size = bytes.size() < 4 ? 0 : little_endian(bytes, 0);
    if (bytes.size() < 4 || size > bytes.size() - 4 || size % 4 != 0 || size == 0) {
      throw FormatError(where + ": expected the size of a table and the table, got " +
                        std::to_string(bytes.size()) + " bytes that state a size of " +
                        std::to_string(size));
    }
    units_.reserve(size / 4);
    for (std::size_t at = 4; at < 4 + size; at += 4) units_.push_back(little_endian(bytes, at));
    texts_ = bytes.substr(4 + size);
    if (texts_.empty() || texts_.back() != '\0' || replace_invalid_utf8(texts_) != texts_) {
      throw FormatError(where + ": expected texts in UTF-8 that each end in NUL after the table");
    }
  }

  /// What stands in the table for the shortest beginning of `text` that is there.
  std::optional<std::string_view> find(std::string_view text) const {
    if (units_.empty()) return std::nullopt;
    std::size_t node = offset(units_[0]);
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte == 0) break;
      node ^= byte;
      if (node >= units_.size() || label(units_[node]) != byte) return std::nullopt;
      const std::uint32_t unit = units_[node];
      node ^= offset(unit);
      if ((unit >> 8 & 1U) == 0) continue;
      if (node >= units_.size()) return std::nullopt;
      const std::size_t begin = units_[node] & 0x7FFFFFFFU;
      // A value between two characters' bytes, or past the end, is no text.
      if (begin >= texts_.size() || (static_cast<unsigned char>(texts_[begin]) & 0xC0U) == 0x80U) {
        return std::nullopt;
      }
      return std::string_view(texts_).substr(begin, texts_.find('\0', begin) - begin);
    }
    return std::nullopt;
  }

 private:
  static std::size_t offset(std::uint32_t unit) {
    return std::size_t{unit >> 10} << ((unit & 0x200U) >> 6);
  }
  static std::uint32_t label(std::uint32_t unit) { return unit & 0x800000FFU; }

  std::vector<std::uint32_t> units_;
  std::string texts_;
};

/// As the tokenizers library applies the table: to each short grapheme as a whole, else to each of
/// its characters; and what the table has for a beginning replaces all of it.
class Precompiled : public Normalizer {
 public:
  explicit Precompiled(CharsMap map) : map_(std::move(map)) {}

  AlignedText apply(AlignedText text, std::size_t most) const override {
    const std::string_view bytes = text.text();
    std::vector<Change> changes;
    bool modified = false;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t end = grapheme_end(bytes, at);
      const std::string_view grapheme = bytes.substr(at, end - at);
      constexpr std::size_t kShort = 6;
      const auto whole = grapheme.size() < kShort ? map_.find(grapheme) : std::nullopt;
      if (whole) {
        replace(grapheme, *whole, most, changes);
        modified = true;
        at = end;
        continue;
      }
      while (at < end) {
        const CodePoint c = code_point_at(bytes, at);
        const std::string_view character = bytes.substr(at, c.length);
        at += c.length;
        if (const auto found = map_.find(character)) {
          replace(character, *found, most, changes);
          modified = true;
        } else {
          changes.push_back({c.value, 0});
        }
      }
    }
    if (!modified) return text;
    AlignedEdit edit(text);
    for (const Change& change : changes) edit.put(change.character, change.change);
    return edit.finish();
  }

 private:
  struct Change {
    char32_t character;
    int change;  // AlignedEdit::put's
  };

  static std::size_t grapheme_end(std::string_view text, std::size_t at) {
    CodePoint c = code_point_at(text, at);
    utf8proc_int32_t state = 0;
    at += c.length;
    while (at < text.size()) {
      const CodePoint next = code_point_at(text, at);
      if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(c.value),
                                           static_cast<utf8proc_int32_t>(next.value), &state)) {
        break;
      }
      c = next;
      at += c.length;
    }
    return at;
  }

  // What was taken away belongs to the last character before it; what is new, to the one it
  // follows.
  static void replace(std::string_view old_part, std::string_view new_part, std::size_t most,
                      std::vector<Change>& changes) {
    check_expansion(changes.size() + new_part.size(), most);
    const auto old_count = static_cast<int>(count_code_points(old_part));
    const auto new_count = static_cast<int>(count_code_points(new_part));
    for (std::size_t at = 0; at < new_part.size();) {
      const CodePoint c = code_point_at(new_part, at);
      at += c.length;
      changes.push_back({c.value, 0});
    }
    const int difference = new_count - old_count;
    for (int i = 0; i < difference; ++i) changes[changes.size() - 1 - std::size_t(i)].change = 1;
    if (difference < 0 && !changes.empty()) changes.back().change += difference;
  }

  CharsMap map_;
};

}  // namespace

std::unique_ptr<const Normalizer> make_precompiled_normalizer(std::string_view charsmap,
                                                              const std::string& where) {
  return std::make_unique<Precompiled>(CharsMap(charsmap, where));
}

std::unique_ptr<const Normalizer> make_precompiled_normalizer(const JsonField& charsmap) {
  const auto bytes = decode_base64(charsmap.as_string(""));
  if (!bytes) charsmap.refuse("base64");
  return make_precompiled_normalizer(*bytes, charsmap.where());
}

}  // namespace diffllama
