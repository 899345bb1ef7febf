#include <cstdint>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/common.h"
#include "cli/progress.h"
#include "cli/validators.h"
#include "diffllama/documents.h"
#include "diffllama/files.h"
#include "diffllama/tokenizer.h"

namespace diffllama::cli {
namespace {

const std::map<std::string, TokenizerKind> kKinds = {
    {"bpe", TokenizerKind::byte_level_bpe},
    {"metaspace-bpe", TokenizerKind::metaspace_bpe},
    {"unigram", TokenizerKind::unigram}};

struct TokenizerTrainOptions {
  TokenizerTraining training;
  std::vector<std::filesystem::path> files;
  std::filesystem::path output;
};

void run(const TokenizerTrainOptions& options) {
  const bool is_file = options.output.extension() == ".json";
  DocumentReader documents(options.files);
  refuse_overwriting(is_file ? options.output : options.output / "tokenizer.json",
                     documents.files());
  Progress progress(documents.total_bytes(), "texts");
  std::int64_t count = 0;
  const std::string json = train_tokenizer(options.training, [&]() -> std::optional<std::string> {
    Document document;
    if (!documents.next(document)) return std::nullopt;
    progress.update(documents.bytes_read(), ++count);
    return std::move(document.text);
  });
  if (is_file) {
    write_file_atomically(options.output, json);
    return;
  }
  std::filesystem::create_directories(options.output);
  write_file_atomically(options.output / "tokenizer.json", json);
  write_file_atomically(options.output / "tokenizer_config.json",
                        trained_tokenizer_config(options.training));
}

}  // namespace

void add_tokenizer_command(CLI::App& app) {
  auto options = std::make_shared<TokenizerTrainOptions>();
  CLI::App* command = app.add_subcommand("tokenizer", "Make tokenizers");
  command->require_subcommand(1);
  CLI::App* train = command->add_subcommand(
      "train", "Train a tokenizer on texts and write it as a tokenizer.json");
  TokenizerTraining& training = options->training;
  train
      ->add_option_function<std::string>(
          "--type", [&training](const std::string& name) { training.kind = kKinds.at(name); },
          "bpe (of bytes), metaspace-bpe (of characters, with byte fallback) or unigram")
      ->transform(CLI::IsMember({"bpe", "metaspace-bpe", "unigram"}, CLI::ignore_case))
      ->default_str("bpe");
  train->add_option("--vocab-size", training.vocab_size, "Tokens at most")->capture_default_str();
  train
      ->add_option("--min-frequency", training.min_frequency,
                   "How often a pair of tokens must stand in the texts to be merged")
      ->capture_default_str();
  train->add_option("--special-tokens", training.special_tokens, "Special tokens, first in ids")
      ->delimiter(',');
  train->add_option("--bos-token", training.bos_token, "A special token put before each text");
  train->add_option("--eos-token", training.eos_token, "A special token put after each text");
  add_path_option(*train, "-o,--output", options->output,
                  "A directory, or a file that ends in .json")
      ->required();
  add_path_option(*train, "FILE", options->files,
                  "Texts: JSON lines with \"text\" (.jsonl, .ndjson, .json), others as one text")
      ->required();
  train->callback([options] { run(*options); });
}

}  // namespace diffllama::cli
