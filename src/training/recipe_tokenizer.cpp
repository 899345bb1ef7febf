#include "training/recipe_tokenizer.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/atomic_file.h"
#include "diffllama/documents.h"
#include "diffllama/error.h"
#include "diffllama/tokenizer.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;

TokenizerTraining training_of(const TokenizerRecipe& recipe, std::int64_t vocab_size) {
  TokenizerTraining training;
  training.kind = *recipe.type;
  training.vocab_size = recipe.vocab_size == 0 ? vocab_size : recipe.vocab_size;
  training.min_frequency = recipe.min_frequency;
  training.special_tokens = recipe.special_tokens;
  training.bos_token = recipe.bos_token;
  training.eos_token = recipe.eos_token;
  return training;
}

DocumentReader texts_of(const Recipe& recipe) {
  const bool own = !recipe.tokenizer.files.empty();
  const std::vector<std::string>& files = own ? recipe.tokenizer.files : recipe.data.train;
  // What the model reads is read alike; other files go by their names.
  auto format = DocumentFormat::automatic;
  if (!own) {
    format = recipe.data.kind == DataKind::text ? DocumentFormat::text : DocumentFormat::json_lines;
  }
  return DocumentReader({files.begin(), files.end()}, format, recipe.data.text_documents);
}

}  // namespace

fs::path tokenizer_directory(const Recipe& recipe) {
  return fs::path(recipe.checkpoints.output_dir) / "tokenizer";
}

fs::path train_recipe_tokenizer(
    const Recipe& recipe, std::int64_t vocab_size,
    const std::function<void(std::uint64_t, std::uint64_t, std::int64_t)>& on_texts) {
  const TokenizerTraining training = training_of(recipe.tokenizer, vocab_size);
  DocumentReader documents = texts_of(recipe);
  std::int64_t count = 0;
  const auto next_text = [&]() -> std::optional<std::string> {
    Document document;
    if (!documents.next(document)) return std::nullopt;
    if (on_texts) on_texts(documents.bytes_read(), documents.total_bytes(), ++count);
    return std::move(document.text);
  };
  std::string json;
  try {
    json = train_tokenizer(training, next_text);
  } catch (const InvalidArgument& error) {
    throw ConfigError(std::string("recipe: tokenizer: ") + error.what());
  }
  fs::path directory = tokenizer_directory(recipe);
  fs::create_directories(directory);
  write_file_atomically(directory / "tokenizer.json", json);
  write_file_atomically(directory / "tokenizer_config.json", trained_tokenizer_config(training));
  return directory;
}

}  // namespace diffllama
