#include "tokenizer/json_members.h"

#include <utility>
#include <vector>

namespace diffllama {
namespace {

constexpr auto kEnd = std::string_view::npos;

std::size_t skip_space(std::string_view text, std::size_t at) {
  const std::size_t next = text.find_first_not_of(" \t\r\n", at);
  return next == kEnd ? text.size() : next;
}

// One past the string whose opening quote is at `at`, or kEnd.
std::size_t skip_string(std::string_view text, std::size_t at) {
  for (++at; at < text.size(); ++at) {
    if (text[at] == '\\') {
      ++at;
    } else if (text[at] == '"') {
      return at + 1;
    }
  }
  return kEnd;
}

// One past the value that begins at `at`, or kEnd.
std::size_t skip_value(std::string_view text, std::size_t at) {
  std::size_t depth = 0;
  while (at < text.size()) {
    const char c = text[at];
    if (c == '"') {
      at = skip_string(text, at);
      if (at == kEnd) return kEnd;
      if (depth == 0) return at;
      continue;
    }
    if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      if (depth == 0) return at;
      if (--depth == 0) return at + 1;
    } else if (c == ',' && depth == 0) {
      return at;
    }
    ++at;
  }
  return kEnd;
}

struct Member {
  std::string_view key, value;
};

// The members of the object that `text` is; fewer when it is not well formed.
std::vector<Member> members(std::string_view text) {
  // tokenizer.json has a dozen members on the levels that this reads.
  constexpr std::size_t kMost = 64;
  std::vector<Member> found;
  std::size_t at = skip_space(text, 0);
  if (at == text.size() || text[at] != '{') return found;
  while (found.size() < kMost) {
    at = skip_space(text, at + 1);
    if (at == text.size() || text[at] != '"') return found;
    const std::size_t key_end = skip_string(text, at);
    if (key_end == kEnd) return found;
    const std::string_view key = text.substr(at + 1, key_end - at - 2);
    at = skip_space(text, key_end);
    if (at == text.size() || text[at] != ':') return found;
    at = skip_space(text, at + 1);
    const std::size_t end = skip_value(text, at);
    if (end == kEnd) return found;
    found.push_back({key, text.substr(at, end - at)});
    at = skip_space(text, end);
    if (at == text.size() || text[at] != ',') return found;
  }
  return found;
}

}  // namespace

TokenizerJsonParts split_tokenizer_json(std::string_view text) {
  TokenizerJsonParts parts;
  std::size_t copied = 0;
  for (const Member& outer : members(text)) {
    if (outer.key != "model") continue;
    for (const Member& inner : members(outer.value)) {
      auto& part = inner.key == "vocab" ? parts.vocab : parts.merges;
      if ((inner.key != "vocab" && inner.key != "merges") || part) continue;
      part = inner.value;
      const auto begin = static_cast<std::size_t>(inner.value.data() - text.data());
      parts.rest += text.substr(copied, begin - copied);
      parts.rest += "null";
      copied = begin + inner.value.size();
    }
  }
  parts.rest += text.substr(copied);
  return parts;
}

}  // namespace diffllama
