#pragma once

#include <filesystem>
#include <string>

#include "diffllama/training.h"

namespace [[gnu::visibility("default")]] diffllama {

/// The same options, whose callbacks also write an event file into `directory`, which TensorBoard
/// shows: each number of metrics.jsonl as a curve, lambda and RMS by layer; the recipe; and, at
/// each checkpoint of a whole language model, how it continues an empty text. Throws IoError, also
/// later from the callbacks.
TrainingOptions with_event_file(const TrainingOptions& options,
                                const std::filesystem::path& directory, const std::string& recipe);

}  // namespace diffllama
