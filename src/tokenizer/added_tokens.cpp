#include "tokenizer/added_tokens.h"

#include <algorithm>

#include "base/utf8.h"
#include "diffllama/error.h"
#include "tokenizer/expansion.h"
#include "tokenizer/unicode.h"

namespace diffllama {
namespace {

// Bounds the work that a text full of near misses takes; real tokens have some dozen bytes.
constexpr std::size_t kMaxContentBytes = 1024;

bool starts_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U; }

bool ends_with_word(std::string_view text) {
  std::size_t at = text.size();
  while (at > 0 && (static_cast<unsigned char>(text[--at]) & 0xC0U) == 0x80U) {
  }
  return !text.empty() && is_word(code_point_at(text, at).value);
}

bool starts_with_word(std::string_view text) {
  return !text.empty() && is_word(code_point_at(text, 0).value);
}

// Where the whitespace that ends before `at` begins, not before `least`.
std::size_t skip_space_back(std::string_view text, std::size_t at, std::size_t least) {
  while (at > least) {
    std::size_t begin = at - 1;
    while (begin > least && (static_cast<unsigned char>(text[begin]) & 0xC0U) == 0x80U) --begin;
    if (!is_whitespace(code_point_at(text, begin).value)) break;
    at = begin;
  }
  return at;
}

std::size_t skip_space(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const CodePoint c = code_point_at(text, at);
    if (!is_whitespace(c.value)) break;
    at += c.length;
  }
  return at;
}

std::string normalized_content(const Normalizer& normalizer, const std::string& content,
                               std::size_t most, const std::string& where) {
  try {
    return normalizer.apply(AlignedText(content), most).text();
  } catch (const InvalidArgument& error) {
    throw FormatError(where + ": " + quote_token(content) + ": " + error.what());
  }
}

}  // namespace

void LiteralSet::assign(std::vector<Literal> literals) {
  literals_ = std::move(literals);
  std::sort(literals_.begin(), literals_.end(),
            [](const Literal& a, const Literal& b) { return a.text < b.text; });
  first_.fill(0);
  for (const Literal& literal : literals_) {
    ++first_[static_cast<unsigned char>(literal.text[0]) + std::size_t{1}];
  }
  for (std::size_t byte = 1; byte < first_.size(); ++byte) first_[byte] += first_[byte - 1];
}

template <class Accept>
const LiteralSet::Literal* LiteralSet::longest_at(std::string_view text, std::size_t at,
                                                  const Accept& accept) const {
  const auto byte = static_cast<unsigned char>(text[at]);
  const Literal* begin = literals_.data() + first_[byte];
  const Literal* end = literals_.data() + first_[byte + std::size_t{1}];
  const Literal* longest = nullptr;
  // [begin, end) are those that agree with the text in their first `depth` bytes, shortest first.
  for (std::size_t depth = 1; begin != end; ++depth) {
    if (begin->text.size() == depth) {
      if (accept(*begin)) longest = begin;
      ++begin;
    }
    if (begin == end) break;
    if (at + depth == text.size()) break;
    const auto next = static_cast<unsigned char>(text[at + depth]);
    const auto byte_of = [depth](const Literal& literal) {
      return static_cast<unsigned char>(literal.text[depth]);
    };
    begin = std::partition_point(begin, end, [&](const Literal& l) { return byte_of(l) < next; });
    end = std::partition_point(begin, end, [&](const Literal& l) { return byte_of(l) == next; });
  }
  return longest;
}

std::int32_t AddedVocabulary::add(AddedToken token, const Vocabulary& vocabulary,
                                  const std::string& where, std::optional<std::int32_t> stated) {
  if (token.content.empty() || token.content.size() > kMaxContentBytes) {
    throw FormatError(where + ": expected an added token of 1 to " +
                      std::to_string(kMaxContentBytes) + " bytes, got " +
                      std::to_string(token.content.size()));
  }
  auto id = id_of(token.content);
  if (!id && stated) {
    if (const std::string* other = content(*stated)) {
      throw FormatError(where + ": expected one token for the id " + std::to_string(*stated) +
                        ", got " + quote_token(*other) + " and " + quote_token(token.content));
    }
    id = stated;
  }
  if (!id) {
    if (const auto known = vocabulary.id_of(token.content)) id = static_cast<std::int32_t>(*known);
  }
  if (!id) {
    id = static_cast<std::int32_t>(
        std::max(id_limit(), static_cast<std::int64_t>(vocabulary.size())));
  }
  id_of_content_[token.content] = *id;
  if (token.special) special_.insert(token.content);
  tokens_[*id] = {std::move(token), ""};
  return *id;
}

bool AddedVocabulary::make_special(const std::string& content) {
  const auto id = id_of(content);
  if (!id) return false;
  tokens_[*id].token.special = true;
  special_.insert(content);
  return true;
}

void AddedVocabulary::finish(const Normalizer* normalizer, const std::string& where) {
  std::vector<LiteralSet::Literal> raw;
  std::map<std::string, std::int32_t> normalized;
  std::size_t bytes = 0;
  for (const auto& [id, entry] : tokens_) bytes += entry.token.content.size();
  std::size_t most = expansion_limit(bytes);  // of all of them
  for (auto& [id, entry] : tokens_) {
    entry.decoded = entry.token.content;
    if (entry.token.normalized && normalizer != nullptr) {
      entry.decoded = normalized_content(*normalizer, entry.token.content, most, where);
      most -= entry.decoded.size();
    }
    if (!entry.token.normalized) {
      raw.push_back({entry.decoded, id});
      continue;
    }
    const auto [same, is_new] = normalized.try_emplace(entry.decoded, id);
    if (!is_new && entry.token.special && !tokens_.at(same->second).token.special) {
      same->second = id;
    }
  }
  raw_.assign(std::move(raw));
  std::vector<LiteralSet::Literal> literals;
  for (const auto& [text, id] : normalized) {
    if (text.empty()) {
      empty_ = id;
    } else {
      literals.push_back({text, id});
    }
  }
  normalized_.assign(std::move(literals));
}

const AddedToken* AddedVocabulary::find(const std::string& content) const {
  const auto id = id_of(content);
  return id ? &tokens_.at(*id).token : nullptr;
}

std::optional<std::int32_t> AddedVocabulary::id_of(std::string_view content) const {
  const auto found = id_of_content_.find(content);
  if (found == id_of_content_.end()) return std::nullopt;
  return found->second;
}

const std::string* AddedVocabulary::decoded(std::int64_t id) const {
  if (id < 0 || id >= id_limit()) return nullptr;
  const auto found = tokens_.find(static_cast<std::int32_t>(id));
  return found == tokens_.end() ? nullptr : &found->second.decoded;
}

const std::string* AddedVocabulary::content(std::int64_t id) const {
  if (id < 0 || id >= id_limit()) return nullptr;
  const auto found = tokens_.find(static_cast<std::int32_t>(id));
  return found == tokens_.end() ? nullptr : &found->second.token.content;
}

bool AddedVocabulary::is_control(std::int32_t id) const {
  const auto found = tokens_.find(id);
  if (found == tokens_.end()) return false;
  const AddedToken& token = found->second.token;
  return token.special || (token.content.starts_with("<|") && token.content.ends_with("|>"));
}

std::int64_t AddedVocabulary::id_limit() const {
  return tokens_.empty() ? 0 : std::int64_t{tokens_.rbegin()->first} + 1;
}

std::vector<Segment> AddedVocabulary::split(const SourceText& source, const AlignedText& text,
                                            const std::vector<Segment>& segments,
                                            bool normalized) const {
  const LiteralSet& literals = normalized ? normalized_ : raw_;
  const AddedToken* empty = normalized && empty_ ? &tokens_.at(*empty_).token : nullptr;
  if (literals.empty() && empty == nullptr) return segments;
  std::vector<Segment> cut;
  for (const Segment& segment : segments) {
    if (segment.id != Segment::kNoId) {
      cut.push_back(segment);
    } else {
      split_segment(source, text, segment, literals, empty, cut);
    }
  }
  return cut;
}

void AddedVocabulary::split_segment(const SourceText& source, const AlignedText& whole,
                                    const Segment& segment, const LiteralSet& literals,
                                    const AddedToken* empty, std::vector<Segment>& cut) const {
  const std::string_view text = whole.view(segment.begin, segment.end);
  const std::uint32_t origin = segment.begin;
  const auto add = [&](std::size_t begin, std::size_t end, std::int32_t id) {
    cut.push_back(
        {origin + static_cast<std::uint32_t>(begin), origin + static_cast<std::uint32_t>(end), id});
  };
  const auto may_match_at = [&](std::size_t at) {
    return [&, at](const LiteralSet::Literal& literal) {
      return source.all_trusted() || !is_control(literal.id) ||
             source.is_trusted(whole.source(origin + at, origin + at + literal.text.size()));
    };
  };
  std::size_t covered = 0;
  for (std::size_t at = 0; at < text.size();) {
    const LiteralSet::Literal* literal = literals.longest_at(text, at, may_match_at(at));
    if (literal == nullptr) {
      const bool cuts = empty != nullptr && covered < at && starts_character(text[at]) &&
                        !(empty->single_word && (ends_with_word(text.substr(0, at)) ||
                                                 starts_with_word(text.substr(at))));
      if (cuts) {
        add(covered, at, Segment::kNoId);
        covered = at;
      }
      ++at;
      continue;
    }
    std::size_t begin = at;
    std::size_t end = at + literal->text.size();
    at = end;
    const AddedToken& token = tokens_.at(literal->id).token;
    if (token.single_word &&
        (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end)))) {
      continue;
    }
    if (token.lstrip) begin = std::max(covered, skip_space_back(text, begin, 0));
    if (token.rstrip) end = skip_space(text, end);
    if (covered < begin) add(covered, begin, Segment::kNoId);
    if (begin < end) add(begin, end, literal->id);  // not in blanks that the one before it took
    covered = end;
  }
  if (covered < text.size()) add(covered, text.size(), Segment::kNoId);
}

}  // namespace diffllama
