#include "training/trainer_state.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <span>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/mapped_file.h"
#include "config/json_fields.h"
#include "diffllama/error.h"
#include "training/data/checksum.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kChecksum = "checksum";
// Of a file that is in memory at once: a checkpoint is as large as the run's own memory.
constexpr std::size_t kPiece = std::size_t{1} << 24;

std::string checksum_text(std::size_t size, const Checksum& checksum) {
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%zu:%016llx", size,
                static_cast<unsigned long long>(checksum.value()));
  return text.data();
}

// json sorts its keys, so the text of the same fields is always the same.
std::string own_checksum(const json& fields) {
  const std::string text = fields.dump();
  Checksum checksum;
  checksum.add(text);
  return checksum_text(text.size(), checksum);
}

// A name that stays in the checkpoint's directory.
bool is_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\0", 2)) == std::string::npos;
}

}  // namespace

std::string file_checksum(const fs::path& file) {
  const MappedFile mapped(file);
  Checksum checksum;
  for (std::span<const std::byte> bytes = mapped.bytes(); !bytes.empty();) {
    const auto piece = bytes.first(std::min(kPiece, bytes.size()));
    checksum.add(piece);
    release_pages(piece);
    bytes = bytes.subspan(piece.size());
  }
  return checksum_text(mapped.bytes().size(), checksum);
}

std::map<std::string, std::string> checksums(const fs::path& directory) {
  std::map<std::string, std::string> files;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename();
    if (name != kTrainerStateFile) files[name] = file_checksum(entry->path());
  }
  if (error) throw IoError(directory.string() + ": cannot read: " + error.message());
  return files;
}

std::string write_trainer_state(const TrainerState& state,
                                const std::map<std::string, std::string>& files) {
  json fields = {{"global_step", state.step},
                 {"optimizer_steps", state.optimizer_steps},
                 {"num_input_tokens_seen", state.tokens},
                 {"best_metric", state.best_loss ? json(*state.best_loss) : json()},
                 {"best_global_step", state.best_step},
                 {"mean_loss", state.mean_loss},
                 {"mean_count", state.mean_count},
                 {"recipe", json::parse(state.recipe)},
                 {"files", files}};
  const std::string checksum = own_checksum(fields);
  fields[kChecksum] = checksum;
  return fields.dump(2) + "\n";
}

StoredTrainerState parse_trainer_state(std::string_view text, const std::string& where) {
  json fields = parse_json(text, where);
  if (!fields.is_object()) {
    throw FormatError(where + ": expected an object, got " + json_excerpt(fields));
  }
  const json checksum = fields.contains(kChecksum) ? fields[kChecksum] : json();
  fields.erase(kChecksum);
  if (checksum != own_checksum(fields)) {
    throw FormatError(where + ": expected checksum " + own_checksum(fields) + ", got " +
                      json_excerpt(checksum));
  }
  const JsonFields read(fields, where);
  StoredTrainerState stored;
  TrainerState& state = stored.state;
  read.read("global_step", state.step);
  read.read("optimizer_steps", state.optimizer_steps);
  read.read("num_input_tokens_seen", state.tokens);
  read.read("best_metric", state.best_loss);
  read.read("best_global_step", state.best_step);
  read.read("mean_loss", state.mean_loss);
  read.read("mean_count", state.mean_count);
  if (const json* recipe = read.find_object("recipe")) state.recipe = recipe->dump();
  const json* files = read.find_object("files");
  if (files == nullptr) read.reject("files", "checksums by file name");
  for (const auto& [name, value] : files->items()) {
    if (!is_file_name(name) || !value.is_string()) read.reject("files", "checksums by file name");
    stored.files[name] = value.get<std::string>();
  }
  return stored;
}

}  // namespace diffllama
