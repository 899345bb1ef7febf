#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace diffllama {

/// Where a run stands; names in trainer_state.json are transformers' where it has one. Data and
/// dropout need no more than the count of examples: they are pure functions of it and the recipe's
/// seed.
struct TrainerState {
  std::int64_t step = 0;              // "global_step": steps done
  std::int64_t optimizer_steps = 0;   // fewer, where a step's labels counted nothing
  std::int64_t examples = 0;          // "num_examples_seen": the place in the data
  std::int64_t tokens = 0;            // "num_input_tokens_seen"
  std::optional<double> best_metric;  // of checkpoints.best_metric, so far
  std::int64_t best_step = 0;         // "best_global_step"
  std::int64_t evaluated_step = 0;    // "last_evaluation_step"; 0: none
  double mean_loss = 0;               // running mean, for the alarm
  std::int64_t mean_count = 0;        // losses in it
  std::string recipe = "{}";          // the effective recipe, JSON
};

inline constexpr const char* kTrainerStateFile = "trainer_state.json";

/// "BYTES:CRC" of a file, in decimal and hexadecimal. Throws IoError.
std::string file_checksum(const std::filesystem::path& file);
/// Of every file in a directory but trainer_state.json, by name.
std::map<std::string, std::string> checksums(const std::filesystem::path& directory);

struct StoredTrainerState {
  TrainerState state;
  std::map<std::string, std::string> files;  // checksums by name
};

/// The text of trainer_state.json; its last field is a checksum of all others.
std::string write_trainer_state(const TrainerState& state,
                                const std::map<std::string, std::string>& files);
/// What an older state lacks follows from its step and its recipe. Throws FormatError, ConfigError
/// that start with `where`, also for numbers that no run reaches.
StoredTrainerState parse_trainer_state(std::string_view text, const std::string& where);

}  // namespace diffllama
