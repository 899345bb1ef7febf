#include "checkpoint/model_path.h"

#include <algorithm>
#include <array>
#include <string>
#include <system_error>
#include <vector>

#include "diffllama/checkpoint.h"
#include "diffllama/error.h"

namespace diffllama {

namespace fs = std::filesystem;

fs::path find_model(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) {
    throw IoError(path.string() + ": expected a model, a directory or a .gguf file, got " +
                  (error ? error.message() : "nothing there"));
  }
  if (!fs::is_directory(path, error) || fs::exists(path / "config.json", error)) return path;
  std::vector<fs::path> models;
  for (auto entry = fs::directory_iterator(path, error);
       !error && entry != fs::directory_iterator(); entry.increment(error)) {
    if (fs::exists(entry->path() / "config.json", error)) models.push_back(entry->path());
  }
  if (models.empty()) return path;
  if (models.size() == 1) return models.front();
  std::ranges::sort(models);
  std::string names;
  for (const fs::path& model : models) {
    if (names.size() > 1000) {
      names += ", ...";
      break;
    }
    names += (names.empty() ? "" : ", ") + model.string();
  }
  throw IoError(path.string() + ": expected a config.json, or one sub-folder with one, got " +
                std::to_string(models.size()) + " models: " + names);
}

fs::path find_tokenizer(const fs::path& path) {
  constexpr std::array kNames = {"tokenizer.json", "tokenizer.model", "tiktoken.model",
                                 "tokenizer_config.json", "chat_template.jinja"};
  std::error_code error;
  if (!fs::is_directory(path, error)) return path;
  const auto has = [&](const char* name) { return fs::exists(path / name, error); };
  return std::ranges::any_of(kNames, has) ? path : find_model(path);
}

}  // namespace diffllama
