#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "training/checkpointing.h"

namespace diffllama {

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
/// Throws FormatError, ConfigError that start with `where`.
StoredTrainerState parse_trainer_state(std::string_view text, const std::string& where);

}  // namespace diffllama
