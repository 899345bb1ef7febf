#include <array>
#include <system_error>

#include "base/regular_file.h"
#include "checkpoint/gguf/gguf.h"
#include "checkpoint/tensor_files.h"
#include "diffllama/checkpoint.h"
#include "diffllama/error.h"
#include "tokenizer/tokenizer_files.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndex = "model.safetensors.index.json";
constexpr std::array kNames = {
    "config.json", "generation_config.json", "chat_template.jinja",      "model.safetensors",
    kIndex,        "adapter_config.json",    "adapter_model.safetensors"};

void add_shards(const fs::path& directory, std::vector<fs::path>& files) {
  try {
    const std::string index = read_file_if_there(directory / kIndex);
    if (index.empty()) return;
    for (const auto& [shard, names] : parse_shard_index(index, kIndex)) {
      files.push_back(directory / shard);
    }
  } catch (const Error&) {  // NOLINT(bugprone-empty-catch): who opens the model says what is wrong
  }
}

}  // namespace

std::vector<fs::path> model_files(const fs::path& model) {
  std::vector<fs::path> files = {model};
  std::error_code error;
  if (!fs::is_directory(model, error)) {
    for (const fs::path& part : gguf_parts_named(model)) files.push_back(part);
    return files;
  }
  const auto add = [&](const char* name) {
    if (fs::exists(model / name, error)) files.push_back(model / name);
  };
  for (const char* name : kNames) add(name);
  for (const TokenizerFile& file : kTokenizerFiles) add(file.name);
  add_shards(model, files);
  return files;
}

}  // namespace diffllama
