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

constexpr std::int64_t kMostSteps = std::int64_t{1} << 53;  // as in a recipe
constexpr std::int64_t kMostTokens = std::int64_t{1} << 62;

/// A count, which a run raises from 0 and which a later sum must not overflow.
void read_count(const JsonFields& fields, const char* field, std::int64_t most,
                std::int64_t& value) {
  fields.read(field, value);
  if (value >= 0 && value <= most) return;
  fields.reject(field, "an integer from 0 to " + number_text(most));
}

/// What a step of the run takes, as its recipe says, or as a recipe that does not say has it.
std::int64_t examples_of_step(const JsonFields& fields) {
  std::int64_t batch = 8;
  std::int64_t accumulated = 1;
  if (const json* recipe = fields.find_object("recipe")) {
    const JsonFields sections(*recipe, fields.where() + ": recipe");
    if (const json* training = sections.find_object("training")) {
      const JsonFields read(*training, sections.where() + ".training");
      read_count(read, "batch_size", kMostSteps, batch);
      read_count(read, "gradient_accumulation_steps", kMostSteps, accumulated);
    }
  }
  const bool fits = accumulated == 0 || batch <= kMostSteps / accumulated;
  return fits ? batch * accumulated : kMostSteps;
}

void read_examples(const JsonFields& fields, TrainerState& state) {
  constexpr const char* kField = "num_examples_seen";
  if (fields.contains(kField)) return read_count(fields, kField, kMostTokens, state.examples);
  const std::int64_t each = examples_of_step(fields);
  if (each != 0 && state.step > kMostTokens / each) {
    fields.reject("global_step", "a step of fewer than 2^62 examples");
  }
  state.examples = state.step * each;
}

TrainerState read_state(const JsonFields& fields) {
  TrainerState state;
  read_count(fields, "global_step", kMostSteps, state.step);
  read_count(fields, "optimizer_steps", state.step, state.optimizer_steps);
  read_examples(fields, state);
  read_count(fields, "num_input_tokens_seen", kMostTokens, state.tokens);
  fields.read("best_metric", state.best_metric);
  read_count(fields, "best_global_step", state.step, state.best_step);
  state.evaluated_step = state.step;  // an older run evaluated before it saved
  read_count(fields, "last_evaluation_step", state.step, state.evaluated_step);
  fields.read("mean_loss", state.mean_loss);
  read_count(fields, "mean_count", state.step, state.mean_count);
  if (const json* recipe = fields.find_object("recipe")) state.recipe = recipe->dump();
  return state;
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
                 {"num_examples_seen", state.examples},
                 {"num_input_tokens_seen", state.tokens},
                 {"best_metric", state.best_metric ? json(*state.best_metric) : json()},
                 {"best_global_step", state.best_step},
                 {"last_evaluation_step", state.evaluated_step},
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
  stored.state = read_state(read);
  const json* files = read.find_object("files");
  if (files == nullptr) read.reject("files", "checksums by file name");
  for (const auto& [name, value] : files->items()) {
    if (!is_file_name(name) || !value.is_string()) read.reject("files", "checksums by file name");
    stored.files[name] = value.get<std::string>();
  }
  return stored;
}

}  // namespace diffllama
