#include "chat/jinja/sizes.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

namespace diffllama::jinja {
namespace {

constexpr std::uint64_t kCharactersOfAStep = 4;

}  // namespace

void spend_bytes_of(Context& context, std::uint64_t count, std::uint64_t bytes) {
  // The budget counts what was spent too, so that a sum must not go over 64 bits either.
  constexpr std::uint64_t kAll = std::numeric_limits<std::uint64_t>::max() / 2;
  std::uint64_t size = 0;
  context.spend_bytes(__builtin_mul_overflow(count, bytes, &size) ? kAll : std::min(size, kAll));
}

Text repeated(Context& context, const Text& text, std::int64_t count) {
  if (count <= 0 || text.empty()) return {};
  const auto repeats = static_cast<std::uint64_t>(count);
  if (text.runs().size() > 1) {  // each time anew
    spend_bytes_of(context, repeats, text.runs().size() * sizeof(Text::Run));
    spend_bytes_of(context, repeats, text.size());
    Text all;
    for (std::uint64_t i = 0; i < repeats; ++i) all.append(text);
    return all;
  }
  spend_bytes_of(context, repeats, text.size());
  std::string bytes;
  bytes.reserve(text.size() * repeats);
  for (std::uint64_t i = 0; i < repeats; ++i) bytes += text.bytes();
  return Text(std::move(bytes), text.content_at(0));
}

void spend_characters(Context& context, const Text& text) {
  context.spend_steps(text.size() / kCharactersOfAStep);
}

void spend_lines(Context& context, const Text& text) {
  // No fewer than there are: of the line ends beyond ASCII the last byte.
  const auto may_end = [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte >= 0x0a && byte <= 0x0d) || (byte >= 0x1c && byte <= 0x1e) || byte == 0x85 ||
           byte == 0xa8 || byte == 0xa9;
  };
  const auto lines = static_cast<std::uint64_t>(std::ranges::count_if(text.bytes(), may_end));
  spend_bytes_of(context, lines + 1, sizeof(Text));
}

std::int64_t missing(std::int64_t a, std::int64_t b) {
  std::int64_t difference = 0;
  if (a <= b) return 0;
  return __builtin_sub_overflow(a, b, &difference) ? std::numeric_limits<std::int64_t>::max()
                                                   : difference;
}

}  // namespace diffllama::jinja
