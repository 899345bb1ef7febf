#include "tokenizer/unicode_normalization.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "base/utf8.h"
#include "tokenizer/unicode.h"

namespace diffllama {
namespace {

struct Character {
  char32_t value;
  int change;  // AlignedEdit::put's
  int combining_class;
};

int combining_class(char32_t c) {
  if (is_not_normalized(c)) return 0;
  return utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class;
}

// The one character that `first` and `second` make together, if any.
std::optional<char32_t> compose(char32_t first, char32_t second) {
  std::array<utf8proc_int32_t, 3> pair = {static_cast<utf8proc_int32_t>(first),
                                          static_cast<utf8proc_int32_t>(second), 0};
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  if (utf8proc_normalize_utf32(pair.data(), 2, options) != 1) return std::nullopt;
  const auto composed = static_cast<char32_t>(pair[0]);
  return is_not_normalized(composed) ? std::nullopt : std::optional(composed);
}

// Decomposes [begin, end) fully and puts marks in canonical order.
std::vector<Character> decompose(std::string_view text, bool compatible) {
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE |
                                                      (compatible ? UTF8PROC_COMPAT : 0));
  std::vector<Character> characters;
  std::array<utf8proc_int32_t, 32> parts{};  // the longest decomposition has 18
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    at += c.length;
    if (is_not_normalized(c.value)) {
      characters.push_back({c.value, 0, 0});
      continue;
    }
    const utf8proc_ssize_t count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c.value), parts.data(),
                                static_cast<utf8proc_ssize_t>(parts.size()), options, nullptr);
    for (utf8proc_ssize_t i = 0; i < count; ++i) {
      const auto part = static_cast<char32_t>(parts[static_cast<std::size_t>(i)]);
      characters.push_back({part, i > 0, combining_class(part)});
    }
  }
  for (auto begin = characters.begin(); begin != characters.end();) {
    const auto is_starter = [](const Character& c) { return c.combining_class == 0; };
    const auto end = std::find_if(begin + 1, characters.end(), is_starter);
    // A starter sorts before its marks, and stays first.
    std::stable_sort(begin, end, [](const Character& a, const Character& b) {
      return a.combining_class < b.combining_class;
    });
    begin = end;
  }
  return characters;
}

// Joins each starter with the marks (and the starter) after it that compose with it and are not
// blocked (Unicode 3.11, D117).
void recompose(const std::vector<Character>& characters, AlignedEdit& edit) {
  std::optional<Character> starter;
  std::vector<Character> kept;  // marks after `starter` that did not compose
  const auto flush = [&] {
    if (starter) edit.put(starter->value, starter->change);
    for (const Character& mark : kept) edit.put(mark.value, mark.change);
    kept.clear();
  };
  for (const Character& c : characters) {
    if (!starter && c.combining_class != 0) {
      edit.put(c.value, c.change);
      continue;
    }
    const bool blocked = !kept.empty() && kept.back().combining_class >= c.combining_class;
    if (starter && !blocked) {
      if (const auto composed = compose(starter->value, c.value)) {
        starter->value = *composed;
        starter->change += c.change - 1;
        continue;
      }
    }
    if (c.combining_class == 0) {
      flush();
      starter = c;
    } else {
      kept.push_back(c);
    }
  }
  flush();
}

}  // namespace

AlignedText normalize_unicode(AlignedText text, NormalizationForm form) {
  const bool compatible = form == NormalizationForm::nfkc || form == NormalizationForm::nfkd;
  const bool composes = form == NormalizationForm::nfc || form == NormalizationForm::nfkc;
  const std::string& bytes = text.text();
  const auto is_ascii = [&](std::size_t at) {
    return static_cast<unsigned char>(bytes[at]) < 0x80;
  };
  AlignedEdit edit(text);
  for (std::size_t at = 0; at < bytes.size();) {
    // ASCII changes only where a mark follows it, so runs of it are kept whole.
    std::size_t end = at;
    while (end < bytes.size() && is_ascii(end)) ++end;
    if (end == bytes.size()) {
      if (at == 0) return text;
      edit.keep(end - at);
      break;
    }
    const std::size_t begin = std::max(at, end == 0 ? 0 : end - 1);
    edit.keep(begin - at);
    while (end < bytes.size() && !is_ascii(end)) ++end;
    const std::vector<Character> characters =
        decompose(text.text().substr(begin, end - begin), compatible);
    if (composes) {
      recompose(characters, edit);
    } else {
      for (const Character& c : characters) edit.put(c.value, c.change);
    }
    at = end;
  }
  return edit.finish();
}

}  // namespace diffllama
