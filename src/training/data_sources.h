#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "diffllama/config.h"
#include "diffllama/tokenizer.h"
#include "training/data/example_source.h"
#include "training/recipe.h"

namespace diffllama {

/// The classes of the data, where the model does not give them.
struct DataLabels {
  std::vector<std::string> names;
  std::optional<ProblemType> problem_type;
};

/// Of classification, conllu and conll, as the training files have them; nothing for other kinds.
/// `names`: those of the classes where they are known. Warns where labels may be meant otherwise
/// than they are taken. Throws IoError, FormatError.
DataLabels data_labels(const Recipe& recipe, const std::vector<std::string>& names,
                       const WarningHandler& warn);

struct DataSources {
  std::unique_ptr<ExampleSource> train, valid;  // null for a list without files
};

/// What the recipe's data section says, for a model with this config. Text is tokenised into
/// shards on the first run. `progress` is DocumentReader's. Throws IoError, FormatError,
/// ConfigError, InvalidArgument.
DataSources open_data(
    const Recipe& recipe, const ModelConfig& config, const std::filesystem::path& tokenizer_path,
    const Tokenizer& tokenizer,
    const std::function<void(std::uint64_t, std::uint64_t, std::int64_t)>& progress,
    const WarningHandler& warn, const Parallel& parallel);

}  // namespace diffllama
