#include "tokenizer/source_text.h"

#include <algorithm>
#include <limits>

#include "base/utf8.h"
#include "diffllama/error.h"

namespace diffllama {

void SourceText::append(std::string_view bytes, bool trusted) {
  // What is not UTF-8 may grow threefold.
  constexpr std::size_t kMost = std::numeric_limits<std::uint32_t>::max() / 3;
  if (bytes.size() > kMost - bytes_) {
    throw InvalidArgument("expected a text of at most " + std::to_string(kMost) + " bytes, got " +
                          std::to_string(bytes_ + bytes.size()));
  }
  const auto begin = static_cast<std::uint32_t>(text_.size());
  text_.reserve(text_.size() + bytes.size());
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t valid = valid_utf8_bytes(bytes.substr(at));
    text_ += bytes.substr(at, valid);
    at += valid;
    if (at == bytes.size()) break;
    const Utf8Step step = utf8_step(bytes.substr(at));
    text_ += kReplacement;
    at += step.length;
    if (step.length != kReplacement.size()) {
      shifts_.push_back({text_.size(), bytes_ + at});
    }
  }
  bytes_ += bytes.size();
  const auto end = static_cast<std::uint32_t>(text_.size());
  if (!trusted && begin != end) untrusted_.push_back({begin, end});
}

std::size_t SourceText::original(std::size_t at) const {
  const auto after = std::upper_bound(shifts_.begin(), shifts_.end(), at,
                                      [](std::size_t a, const Shift& s) { return a < s.text; });
  if (after == shifts_.begin()) return at;
  const Shift& last = *(after - 1);
  return last.bytes + (at - last.text);
}

bool SourceText::is_trusted(Span span) const {
  const auto next =
      std::upper_bound(untrusted_.begin(), untrusted_.end(), span.begin,
                       [](std::uint32_t begin, const Span& part) { return begin < part.end; });
  return next == untrusted_.end() || next->begin >= span.end;
}

}  // namespace diffllama
