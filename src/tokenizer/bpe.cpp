#include "tokenizer/bpe.h"

#include <algorithm>
#include <functional>
#include <random>

#include "base/utf8.h"
#include "diffllama/error.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/first_word.h"

namespace diffllama {
namespace {

constexpr std::uint64_t kEmpty = UINT64_MAX;  // no pair: ids are below 2^24

std::uint64_t pair_key(std::uint32_t left, std::uint32_t right) {
  return std::uint64_t{left} << 32 | right;
}

}  // namespace

MergeTable::MergeTable() : slots_(16, {kEmpty, {}}) {
  std::random_device random;
  seed_ = std::uint64_t{random()} << 32 | random();
}

std::size_t MergeTable::slot_of(std::uint64_t pair) const {
  std::uint64_t hash = (pair ^ seed_) * 0x9E3779B97F4A7C15U;
  hash = (hash ^ hash >> 32) * 0xD6E8FEB86659FD93U;
  hash ^= hash >> 32;
  std::size_t slot = hash & (slots_.size() - 1);
  while (slots_[slot].pair != pair && slots_[slot].pair != kEmpty) {
    slot = (slot + 1) & (slots_.size() - 1);
  }
  return slot;
}

void MergeTable::set(std::uint32_t left, std::uint32_t right, Merge merge) {
  if (2 * (used_ + 1) > slots_.size()) grow();
  const std::uint64_t pair = pair_key(left, right);
  Slot& slot = slots_[slot_of(pair)];
  used_ += slot.pair == kEmpty;
  slot = {pair, merge};
}

const MergeTable::Merge* MergeTable::find(std::uint32_t left, std::uint32_t right) const {
  const Slot& slot = slots_[slot_of(pair_key(left, right))];
  return slot.pair == kEmpty ? nullptr : &slot.merge;
}

std::vector<std::pair<std::uint32_t, std::uint32_t>> MergeTable::pairs() const {
  std::vector<Slot> used;
  used.reserve(used_);
  for (const Slot& slot : slots_) {
    if (slot.pair != kEmpty) used.push_back(slot);
  }
  std::ranges::sort(used, {},
                    [](const Slot& slot) { return std::pair(slot.merge.rank, slot.pair); });
  std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs;
  pairs.reserve(used.size());
  for (const Slot& slot : used) {
    pairs.emplace_back(static_cast<std::uint32_t>(slot.pair >> 32),
                       static_cast<std::uint32_t>(slot.pair));
  }
  return pairs;
}

void MergeTable::grow() {
  std::vector<Slot> old(2 * slots_.size(), {kEmpty, {}});
  old.swap(slots_);
  for (const Slot& slot : old) {
    if (slot.pair != kEmpty) slots_[slot_of(slot.pair)] = slot;
  }
}

Bpe::Bpe(Vocabulary vocabulary, BpeOptions options)
    : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {
  if (options_.unk_token) unk_id_ = vocabulary_.id_of(*options_.unk_token);
  // A whole piece that is a token, marks of its ends and a blank that is itself unknown all look
  // past a word.
  words_are_independent_ = !options_.ignore_merges && options_.continuing_subword_prefix.empty() &&
                           options_.end_of_word_suffix.empty() && vocabulary_.id_of(kBlankMark);
  for (std::size_t c = 0; c < id_of_low_character_.size(); ++c) {
    std::string text;
    append_utf8(text, static_cast<char32_t>(c));
    const auto id = vocabulary_.id_of(text);
    id_of_low_character_[c] = id ? static_cast<std::int32_t>(*id) : -1;
  }
}

std::unique_ptr<TokenizerModel::Encoder> Bpe::make_encoder() const {
  return std::make_unique<Encoder>(*this);
}

std::vector<std::pair<std::uint32_t, std::uint32_t>> Bpe::merges() const { return merges_.pairs(); }

void Bpe::add_merge(std::string_view left, std::string_view right) {
  const auto id_of = [&](std::string_view token) {
    if (const auto id = vocabulary_.id_of(token)) return *id;
    throw FormatError(vocabulary_.where() + ": expected merges of tokens in the vocabulary, got " +
                      quote_token(token) + " in merge " + std::to_string(merge_count_) + " (" +
                      quote_token(left) + ", " + quote_token(right) + ")");
  };
  if (merge_count_ == kVocabularyLimit) {
    throw FormatError(vocabulary_.where() + ": expected at most " +
                      std::to_string(kVocabularyLimit) + " merges, got more");
  }
  const std::uint32_t left_id = id_of(left);
  const std::uint32_t right_id = id_of(right);
  // The prefix of the right part is dropped; one that is shorter than the prefix has none.
  const std::size_t prefix = options_.continuing_subword_prefix.size();
  std::string merged(left);
  if (right.size() < prefix) id_of(merged + std::string(right));
  merged += right.substr(std::min(prefix, right.size()));
  const std::uint32_t merged_id = id_of(merged);
  set_merge(left_id, right_id, {merge_count_++, merged_id});
}

void Bpe::set_merge(std::uint32_t left, std::uint32_t right, MergeTable::Merge merge) {
  merges_.set(left, right, merge);
  if (vocabulary_.token_of(right).value_or("").starts_with(kBlankMark) &&
      !vocabulary_.token_of(left).value_or("").ends_with(kBlankMark)) {
    words_are_independent_ = false;
  }
}

std::size_t Bpe::independent_prefix(std::string_view piece) const {
  return words_are_independent_ ? first_word(piece) : piece.size();
}

std::optional<std::uint32_t> Bpe::id_of_character(std::string_view character, bool first, bool last,
                                                  std::string& scratch) const {
  const bool prefixed = !first && !options_.continuing_subword_prefix.empty();
  const bool suffixed = last && !options_.end_of_word_suffix.empty();
  if (!prefixed && !suffixed) {
    const char32_t c = code_point_at(character, 0).value;
    if (c >= id_of_low_character_.size()) return vocabulary_.id_of(character);
    const std::int32_t id = id_of_low_character_[c];
    return id < 0 ? std::nullopt : std::optional(static_cast<std::uint32_t>(id));
  }
  scratch.clear();
  if (prefixed) scratch += options_.continuing_subword_prefix;
  scratch += character;
  if (suffixed) scratch += options_.end_of_word_suffix;
  return vocabulary_.id_of(scratch);
}

void Bpe::Encoder::add_symbol(std::uint32_t id, std::size_t length) {
  const auto position = static_cast<std::uint32_t>(symbols_.size());
  if (!symbols_.empty()) symbols_.back().next = position;
  symbols_.push_back(
      {id, position == 0 ? kNone : position - 1, kNone, static_cast<std::uint32_t>(length)});
}

// The character's bytes as tokens <0xXX>; false when one is missing.
bool Bpe::Encoder::add_byte_tokens(std::string_view character) {
  std::vector<std::uint32_t> ids;
  for (const char c : character) {
    const auto id = bpe_.vocabulary_.id_of(byte_token(static_cast<unsigned char>(c)));
    if (!id) return false;
    ids.push_back(*id);
  }
  for (const std::uint32_t id : ids) add_symbol(id, 1);
  return true;
}

void Bpe::Encoder::split_into_symbols(std::string_view piece) {
  const BpeOptions& options = bpe_.options_;
  symbols_.clear();
  std::size_t unknown = 0;  // bytes of the unknown characters that are not yet a symbol
  const auto flush_unknown = [&] {
    if (unknown > 0) add_symbol(*bpe_.unk_id_, unknown);
    unknown = 0;
  };
  for (std::size_t at = 0; at < piece.size();) {
    const std::size_t length = code_point_at(piece, at).length;
    const std::string_view character = piece.substr(at, length);
    const bool first = at == 0;
    at += length;
    const auto id = bpe_.id_of_character(character, first, at == piece.size(), scratch_);
    if (id) {
      flush_unknown();
      add_symbol(*id, length);
      continue;
    }
    if (options.byte_fallback) {
      // With a prefix or suffix its bytes fall back too.
      std::string text = first ? "" : options.continuing_subword_prefix;
      text += character;
      if (at == piece.size()) text += options.end_of_word_suffix;
      if (add_byte_tokens(text)) continue;
    }
    if (!options.unk_token) continue;
    if (!bpe_.unk_id_) {
      throw FormatError(bpe_.vocabulary_.where() + ": expected unk_token " +
                        quote_token(*options.unk_token) + " in the vocabulary, for the character " +
                        quote_token(character));
    }
    if (!options.fuse_unk) flush_unknown();
    unknown += length;
  }
  flush_unknown();
}

void Bpe::Encoder::push_candidate(std::uint32_t position) {
  const std::uint32_t next = symbols_[position].next;
  if (next == kNone) return;
  if (const auto* merge = bpe_.merges_.find(symbols_[position].id, symbols_[next].id)) {
    candidates_.push_back({merge->rank, position, merge->id});
    std::push_heap(candidates_.begin(), candidates_.end(), std::greater<>());
  }
}

void Bpe::Encoder::merge_symbols() {
  candidates_.clear();
  for (std::uint32_t i = 0; i < symbols_.size(); ++i) push_candidate(i);
  while (!candidates_.empty()) {
    std::pop_heap(candidates_.begin(), candidates_.end(), std::greater<>());
    const Candidate best = candidates_.back();
    candidates_.pop_back();
    Symbol& left = symbols_[best.position];
    if (left.length == 0 || left.next == kNone) continue;
    Symbol& right = symbols_[left.next];
    // The pair may have changed since it was queued.
    const auto* merge = bpe_.merges_.find(left.id, right.id);
    if (merge == nullptr || merge->id != best.id) continue;
    left.id = best.id;
    left.length += right.length;
    left.next = right.next;
    right.length = 0;
    if (left.next != kNone) symbols_[left.next].previous = best.position;
    if (left.previous != kNone) push_candidate(left.previous);
    push_candidate(best.position);
  }
}

void Bpe::Encoder::encode(std::string_view piece, std::vector<PieceToken>& tokens) {
  if (bpe_.options_.ignore_merges) {
    if (const auto id = bpe_.vocabulary_.id_of(piece)) {
      tokens.push_back({*id, 0, static_cast<std::uint32_t>(piece.size())});
      return;
    }
  }
  split_into_symbols(piece);
  merge_symbols();
  std::uint32_t begin = 0;
  for (const Symbol& symbol : symbols_) {
    if (symbol.length == 0) continue;
    tokens.push_back({symbol.id, begin, begin + symbol.length});
    begin += symbol.length;
  }
}

}  // namespace diffllama
