#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "generation/constraints/compiled_constraint.h"

namespace diffllama {

/// A vocabulary for tests: every byte, then pieces of JSON and text, some that break characters in
/// two.
inline TokenBytes test_vocabulary() {
  TokenBytes bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.tokens.emplace_back(1, static_cast<char>(byte));
  for (const char* piece :
       {"{\"",   "\":",  "\": ",  "\", \"", "\",\"", "\"}",  "}}",       "]}",       "],",
        "[[",    "{}",   "[]",    "true",   "false", "null", "tr",       "ue",       "12",
        "123",   "000",  "-1",    "0.",     ".5",    "e+",   "ab",       "abc",      "name",
        "id",    "the ", " a",    "\\n",    "\\u00", "\\\"", "\xc3\xa9", "\xf0\x9f", "\x98\x80",
        "a\xc3", "\xa9", "a",     "2024-",  "-01-",  "T1",   "Z\"",      "@b.",      "com",
        ", ",    ": ",   "\"a\"", "\"b\":1"}) {
    bytes.tokens.emplace_back(piece);
  }
  bytes.tokens.emplace_back();  // a special token
  return bytes;
}

inline bool is_allowed(const std::vector<std::uint64_t>& mask, std::size_t id) {
  return (mask[id / 64] >> (id % 64) & 1) != 0;
}

/// A text that the constraint lets a model write: allowed tokens drawn at random, with an eye on
/// ending. Empty where it is not whole after `most` tokens.
inline std::pair<bool, std::string> random_text(const Constraint& constraint,
                                                const TokenBytes& bytes, std::mt19937& random,
                                                std::size_t most) {
  std::vector<std::int64_t> ids;
  std::string text;
  while (ids.size() < most) {
    const Constraint::Next next = constraint.next(ids);
    std::vector<std::size_t> choices, closing;
    for (std::size_t id = 0; id < bytes.tokens.size(); ++id) {
      if (!is_allowed(next.allowed, id)) continue;
      choices.push_back(id);
      const char last = bytes.tokens[id].back();
      if (last == '"' || last == '}' || last == ']') closing.push_back(id);
    }
    if (next.complete && (choices.empty() || random() % 2 == 0)) return {true, text};
    if (choices.empty()) return {false, text};
    const auto& from = !closing.empty() && random() % 2 == 0 ? closing : choices;
    ids.push_back(static_cast<std::int64_t>(from[random() % from.size()]));
    text += bytes.tokens[static_cast<std::size_t>(ids.back())];
  }
  return {false, text};
}

}  // namespace diffllama
