#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "diffllama/error.h"
#include "diffllama/tokenizer.h"
#include "tokenizer/bpe_trainer.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/load_tokenizer.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/training_words.h"
#include "tokenizer/unigram_trainer.h"
#include "tokenizer/vocabulary.h"

namespace diffllama {
namespace {

using nlohmann::ordered_json;

// Llama 3's: words with the blank before them, digits in groups of three.
constexpr std::string_view kPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kBlank = "\u2581";
constexpr const char* kUnknown = "<unk>";
// Rarer characters are spelled in bytes.
constexpr double kCoverage = 0.9995;
// Below any real score, so that text that reads like <0x41> stays text.
constexpr double kByteScore = -1000;

ordered_json pre_tokenizer_json(TokenizerKind kind) {
  if (kind != TokenizerKind::byte_level_bpe) {
    return {{"type", "Metaspace"},
            {"replacement", kBlank},
            {"prepend_scheme", "first"},
            {"split", true}};
  }
  const ordered_json split = {{"type", "Split"},
                              {"pattern", {{"Regex", kPattern}}},
                              {"behavior", "Isolated"},
                              {"invert", false}};
  const ordered_json bytes = {{"type", "ByteLevel"},
                              {"add_prefix_space", false},
                              {"trim_offsets", true},
                              {"use_regex", false}};
  return {{"type", "Sequence"}, {"pretokenizers", {split, bytes}}};
}

ordered_json decoder_json(TokenizerKind kind) {
  if (kind == TokenizerKind::byte_level_bpe) {
    return {{"type", "ByteLevel"},
            {"add_prefix_space", true},
            {"trim_offsets", true},
            {"use_regex", true}};
  }
  const ordered_json replace = {
      {"type", "Replace"}, {"pattern", {{"String", kBlank}}}, {"content", " "}};
  const ordered_json strip = {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}};
  return {{"type", "Sequence"},
          {"decoders", {replace, {{"type", "ByteFallback"}}, {{"type", "Fuse"}}, strip}}};
}

std::vector<std::string> byte_tokens() {
  std::vector<std::string> tokens;
  for (unsigned byte = 0; byte < 256; ++byte) {
    tokens.push_back(byte_token(static_cast<unsigned char>(byte)));
  }
  return tokens;
}

std::vector<std::string> byte_alphabet() {
  std::vector<std::string> characters;
  for (unsigned byte = 0; byte < 256; ++byte) {
    characters.emplace_back(byte_level_character(static_cast<unsigned char>(byte)));
  }
  return characters;
}

ordered_json bpe_json(const std::vector<TrainingWord>& words, const TokenizerTraining& training,
                      const std::vector<std::string>& special) {
  const bool byte_level = training.kind == TokenizerKind::byte_level_bpe;
  BpeTrainerOptions options;
  options.vocab_size = static_cast<std::size_t>(training.vocab_size);
  options.min_frequency = static_cast<std::uint64_t>(training.min_frequency);
  options.reserved = special;
  if (!byte_level) {
    for (std::string& token : byte_tokens()) options.reserved.push_back(std::move(token));
  }
  options.alphabet = byte_level ? byte_alphabet() : frequent_characters(words, kCoverage);
  const TrainedBpe trained = train_bpe(words, options);
  ordered_json vocab = ordered_json::object();
  for (std::size_t id = 0; id < trained.tokens.size(); ++id) {
    vocab.get_ref<ordered_json::object_t&>()
        .std::vector<std::pair<const std::string, ordered_json>>::emplace_back(trained.tokens[id],
                                                                               id);
  }
  ordered_json merges = ordered_json::array();
  for (const auto& [left, right] : trained.merges) merges.push_back({left, right});
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", byte_level ? ordered_json() : ordered_json(kUnknown)},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", !byte_level},
          {"byte_fallback", !byte_level},
          {"ignore_merges", false},
          {"vocab", std::move(vocab)},
          {"merges", std::move(merges)}};
}

// All that ASCII prints is in it: otherwise text that reads like <0x41> could be cheaper as that
// byte's token than as its own characters.
std::vector<std::string> unigram_alphabet(const std::vector<TrainingWord>& words) {
  std::vector<std::string> alphabet;
  for (char c = '!'; c <= '~'; ++c) alphabet.emplace_back(1, c);
  for (std::string& character : frequent_characters(words, kCoverage)) {
    const bool is_printable_ascii =
        character.size() == 1 && character[0] > ' ' && character[0] <= '~';
    if (!is_printable_ascii) alphabet.push_back(std::move(character));
  }
  return alphabet;
}

ordered_json unigram_json(const std::vector<TrainingWord>& words, const TokenizerTraining& training,
                          const std::vector<std::string>& special) {
  ordered_json vocab = ordered_json::array();
  std::size_t unk_id = 0;
  for (const std::string& token : special) {
    if (token == kUnknown) unk_id = vocab.size();
    vocab.push_back({token, 0.0});
  }
  for (const std::string& token : byte_tokens()) vocab.push_back({token, kByteScore});
  UnigramTrainerOptions options;
  options.vocab_size = static_cast<std::size_t>(training.vocab_size) - vocab.size();
  options.alphabet = unigram_alphabet(words);
  options.alphabet.resize(std::min(options.alphabet.size(), options.vocab_size));
  options.reserved = special;
  for (std::string& token : byte_tokens()) options.reserved.push_back(std::move(token));
  for (const UnigramPiece& piece : train_unigram(words, options)) {
    vocab.push_back({piece.text, piece.score});
  }
  return {{"type", "Unigram"},
          {"unk_id", unk_id},
          {"vocab", std::move(vocab)},
          {"byte_fallback", true}};
}

// BOS before and EOS after each text, where they are named.
ordered_json post_processor_json(const TokenizerTraining& training,
                                 const std::vector<std::string>& special) {
  ordered_json single = ordered_json::array();
  ordered_json pair = ordered_json::array();
  ordered_json tokens = ordered_json::object();
  const auto add_special = [&](const std::string& token, int type_id, ordered_json& list) {
    if (token.empty()) return;
    const auto id = std::ranges::find(special, token) - special.begin();
    list.push_back({{"SpecialToken", {{"id", token}, {"type_id", type_id}}}});
    tokens[token] = {{"id", token}, {"ids", {id}}, {"tokens", {token}}};
  };
  const auto add_text = [&](const char* name, int type_id, ordered_json& list) {
    add_special(training.bos_token, type_id, list);
    list.push_back({{"Sequence", {{"id", name}, {"type_id", type_id}}}});
    add_special(training.eos_token, type_id, list);
  };
  add_text("A", 0, single);
  add_text("A", 0, pair);
  add_text("B", 1, pair);
  return {{"type", "TemplateProcessing"},
          {"single", std::move(single)},
          {"pair", std::move(pair)},
          {"special_tokens", std::move(tokens)}};
}

ordered_json added_tokens_json(const std::vector<std::string>& special) {
  ordered_json list = ordered_json::array();
  for (std::size_t id = 0; id < special.size(); ++id) {
    list.push_back({{"id", id},
                    {"content", special[id]},
                    {"single_word", false},
                    {"lstrip", false},
                    {"rstrip", false},
                    {"normalized", false},
                    {"special", true}});
  }
  return list;
}

// All special tokens, each once; they get the first ids.
std::vector<std::string> special_tokens(const TokenizerTraining& training) {
  std::vector<std::string> tokens;
  const auto add = [&](const std::string& token) {
    if (!token.empty() && std::ranges::find(tokens, token) == tokens.end()) tokens.push_back(token);
  };
  if (training.kind != TokenizerKind::byte_level_bpe) add(kUnknown);
  add(training.bos_token);
  add(training.eos_token);
  std::set<std::string_view> seen;
  for (const std::string& token : training.special_tokens) {
    if (token.empty()) throw InvalidArgument("expected special tokens that are not empty, got one");
    if (!seen.insert(token).second) {
      throw InvalidArgument("expected each special token once, got " + quote_token(token) +
                            " twice");
    }
    add(token);
  }
  return tokens;
}

void check(const TokenizerTraining& training, const std::vector<std::string>& special) {
  constexpr std::int64_t kBytes = 256;
  const std::int64_t least = static_cast<std::int64_t>(special.size()) + kBytes;
  constexpr std::int64_t kMost = std::int64_t{1} << 22;
  if (training.vocab_size < least || training.vocab_size > kMost) {
    throw InvalidArgument("expected a vocab_size from " + std::to_string(least) +
                          ", the special tokens and all bytes, to " + std::to_string(kMost) +
                          ", got " + std::to_string(training.vocab_size));
  }
  if (training.min_frequency < 1) {
    throw InvalidArgument("expected a min_frequency of at least 1, got " +
                          std::to_string(training.min_frequency));
  }
}

}  // namespace

std::string train_tokenizer(const TokenizerTraining& training, const NextText& next_text) {
  const std::vector<std::string> special = special_tokens(training);
  check(training, special);
  const nlohmann::json rules = pre_tokenizer_json(training.kind);
  const auto pre_tokenizer = make_pre_tokenizer(JsonField(rules, "pre_tokenizer"));
  WordCounter counter(*pre_tokenizer);
  while (const auto text = next_text()) counter.add(*text);
  const std::vector<TrainingWord> words = counter.take();
  if (words.empty()) throw InvalidArgument("expected texts to train a tokenizer on, got none");

  ordered_json model = training.kind == TokenizerKind::unigram
                           ? unigram_json(words, training, special)
                           : bpe_json(words, training, special);
  const ordered_json document = {{"version", "1.0"},
                                 {"truncation", nullptr},
                                 {"padding", nullptr},
                                 {"added_tokens", added_tokens_json(special)},
                                 {"normalizer", nullptr},
                                 {"pre_tokenizer", pre_tokenizer_json(training.kind)},
                                 {"post_processor", post_processor_json(training, special)},
                                 {"decoder", decoder_json(training.kind)},
                                 {"model", std::move(model)}};
  return document.dump(2, ' ', false) + "\n";
}

std::string trained_tokenizer_config(const TokenizerTraining& training) {
  ordered_json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                         {"clean_up_tokenization_spaces", false}};
  if (!training.bos_token.empty()) config["bos_token"] = training.bos_token;
  if (!training.eos_token.empty()) config["eos_token"] = training.eos_token;
  if (training.kind != TokenizerKind::byte_level_bpe) config["unk_token"] = kUnknown;
  return config.dump(2) + "\n";
}

}  // namespace diffllama
