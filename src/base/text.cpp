#include "base/text.h"

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <vector>

#include "base/utf8.h"

namespace diffllama {
namespace {

bool acts_on_terminal(char32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x200e && code <= 0x200f) ||
         (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

std::string without_controls(std::string_view text) {
  std::string clean;
  while (!text.empty()) {
    const Utf8Step step = utf8_step(text);
    const char32_t code = step.valid ? code_point_at(text, 0).value : 0;
    if (!step.valid) {
      clean += kReplacement;
    } else if (acts_on_terminal(code)) {
      char escaped[16];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(code));
      clean += escaped;
    } else {
      clean += text.substr(0, step.length);
    }
    text.remove_prefix(step.length);
  }
  return clean;
}

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xc0U) == 0x80; }

// `text` without its middle, cut between characters; at most `most` bytes.
std::string without_middle(std::string_view text, std::size_t most) {
  if (text.size() <= most) return std::string(text);
  const std::string gap = "...(" + std::to_string(text.size()) + " bytes)...";
  const std::size_t kept = most > gap.size() ? most - gap.size() : 0;
  std::size_t head = kept - kept / 4;
  std::size_t tail = text.size() - kept / 4;
  while (head > 0 && is_continuation(text[head])) --head;
  while (tail < text.size() && is_continuation(text[tail])) ++tail;
  return std::string(text.substr(0, head)) + gap + std::string(text.substr(tail));
}

// Letters to insert, delete or replace until `a` is `b`.
std::size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::size_t nearest_of(std::string_view name, std::span<const std::string> known) {
  const std::string_view cut = name.substr(0, 60);
  const auto found = std::ranges::min_element(
      known, {}, [&](const std::string& other) { return edits(cut, other); });
  return static_cast<std::size_t>(found - known.begin());
}

bool is_utf8(std::string_view text) { return valid_utf8_bytes(text) == text.size(); }

std::string printable(std::string_view text, std::size_t most) {
  constexpr std::size_t kLongestWord = 400;
  // More would only be made and cut again.
  const std::string clean = without_controls(without_middle(text, 2 * most));
  std::string line;
  for (std::size_t at = 0; at < clean.size();) {
    const std::size_t end = std::min(clean.find(' ', at), clean.size());
    line += without_middle(std::string_view(clean).substr(at, end - at), kLongestWord);
    if (end < clean.size()) line += ' ';
    at = end + 1;
  }
  return without_middle(line, most);
}

std::string shortened(std::string_view text, std::size_t most) {
  if (text.size() <= most) return std::string(text);
  while (most > 0 && is_continuation(text[most])) --most;
  return std::string(text.substr(0, most)) + "...";
}

}  // namespace diffllama
