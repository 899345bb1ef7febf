#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "training/recipe.h"

namespace diffllama {

/// Where the tokenizer of a recipe goes that trains one: checkpoints.output_dir/tokenizer.
std::filesystem::path tokenizer_directory(const Recipe& recipe);

/// Trains the tokenizer that recipe.tokenizer describes, with at most `vocab_size` tokens where the
/// recipe leaves that open, and writes it to tokenizer_directory(), which it returns.
/// The same texts give the same bytes, so a run that is resumed makes the same one. `on_texts` is
/// told of bytes read, bytes of all (0: unknown) and texts. Throws IoError, FormatError and
/// ConfigError for settings that cannot be.
std::filesystem::path train_recipe_tokenizer(
    const Recipe& recipe, std::int64_t vocab_size,
    const std::function<void(std::uint64_t, std::uint64_t, std::int64_t)>& on_texts);

}  // namespace diffllama
