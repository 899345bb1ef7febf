#include "tokenizer/tiktoken_file.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/base64.h"
#include "diffllama/error.h"
#include "tokenizer/bpe.h"
#include "tokenizer/byte_level.h"

namespace diffllama {
namespace {

// Longer tokens are not split into pairs: real ones have at most 128 bytes, runs of blanks.
constexpr std::size_t kMaxTokenBytes = 1024;

struct Line {
  std::string token;
  std::int64_t rank;
};

std::optional<Line> parse_line(std::string_view line) {
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  auto token = decode_base64(line.substr(0, space));
  const std::string_view number = line.substr(space + 1);
  Line parsed{"", 0};
  const auto [end, error] =
      std::from_chars(number.data(), number.data() + number.size(), parsed.rank);
  if (!token || token->empty() || error != std::errc() || end != number.data() + number.size() ||
      parsed.rank < 0) {
    return std::nullopt;
  }
  parsed.token = std::move(*token);
  return parsed;
}

std::string_view next_line(std::string_view& rest) {
  const std::size_t end = std::min(rest.find('\n'), rest.size());
  std::string_view line = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

std::string spell(std::string_view bytes) {
  std::string token;
  for (const char byte : bytes) token += byte_level_character(static_cast<unsigned char>(byte));
  return token;
}

}  // namespace

bool is_tiktoken(std::string_view bytes) { return parse_line(next_line(bytes)).has_value(); }

std::unique_ptr<const TokenizerModel> make_tiktoken_model(std::string_view bytes,
                                                          const std::string& where) {
  std::vector<Line> lines;
  std::unordered_map<std::string_view, std::int64_t> ranks;
  for (std::size_t number = 1; !bytes.empty(); ++number) {
    const std::string_view text = next_line(bytes);
    if (text.empty()) continue;
    auto line = parse_line(text);
    if (!line || line->token.size() > kMaxTokenBytes || lines.size() == kVocabularyLimit) {
      throw FormatError(where + ":" + std::to_string(number) + ": expected a token of at most " +
                        std::to_string(kMaxTokenBytes) + " bytes in base64 and its rank, got " +
                        quote_token(text));
    }
    lines.push_back(std::move(*line));
  }
  std::ranges::stable_sort(lines, {}, &Line::rank);
  Vocabulary vocabulary(where);
  for (const Line& line : lines) {
    vocabulary.add(spell(line.token), line.rank);
    ranks.emplace(line.token, line.rank);
  }
  vocabulary.finish();

  BpeOptions options;
  options.ignore_merges = true;
  auto model = std::make_unique<Bpe>(std::move(vocabulary), options);
  std::vector<std::tuple<std::int64_t, std::int64_t, std::size_t>> pairs;
  for (const Line& line : lines) {
    const std::string_view token = line.token;
    pairs.clear();
    for (std::size_t middle = 1; middle < token.size(); ++middle) {
      const auto left = ranks.find(token.substr(0, middle));
      const auto right = ranks.find(token.substr(middle));
      if (left != ranks.end() && right != ranks.end()) {
        pairs.emplace_back(left->second, right->second, middle);
      }
    }
    std::ranges::sort(pairs);
    for (const auto& [left, right, middle] : pairs) {
      model->add_merge(spell(token.substr(0, middle)), spell(token.substr(middle)));
    }
  }
  return model;
}

}  // namespace diffllama
