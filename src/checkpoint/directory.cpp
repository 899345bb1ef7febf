#include <system_error>
#include <utility>

#include "base/json.h"
#include "base/regular_file.h"
#include "checkpoint/safetensors/safetensors.h"
#include "checkpoint/tensor_files.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kSingleName = "model.safetensors";
constexpr const char* kIndexName = "model.safetensors.index.json";

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

void add_file(const fs::path& path, TensorFiles& files) {
  const SafetensorsFile file(path);
  const auto refuse_twice = [&](const std::string& name, const std::string& other) {
    throw FormatError(path.string() + ": expected each tensor in one shard, got " +
                      json_excerpt(json(name)) + " also in " + other);
  };
  for (const auto& [name, view] : file.tensors()) {
    const auto [at, added] =
        files.tensors.try_emplace(name, StoredTensor{view, path.string() + ": tensor " + name});
    if (!added) refuse_twice(name, at->second.where);
    if (files.unread.contains(name)) refuse_twice(name, "another shard");
  }
  for (const auto& [name, unread] : file.unread()) {
    if (!files.unread.emplace(name, unread).second || files.tensors.contains(name)) {
      refuse_twice(name, "another shard");
    }
  }
  files.mappings.push_back(file.mapping());
}

// Shards lie beside their index: anything else in its place could read any file of the machine.
void check_shard_name(const std::string& name, const std::string& where) {
  const bool plain = !name.empty() && name != "." && name != ".." &&
                     name.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
  if (!plain) {
    throw FormatError(where + ": expected the name of a file in the same directory, got " +
                      json_excerpt(json(name)));
  }
}

}  // namespace

std::map<std::string, std::vector<std::string>> parse_shard_index(std::string_view text,
                                                                  const std::string& where) {
  const json index = parse_json(text, where);
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (map == index.end() || !map->is_object() || map->empty()) {
    throw FormatError(where + ": expected an object weight_map from tensors to files, got " +
                      (map == index.end() ? "none" : json_excerpt(*map)));
  }
  std::map<std::string, std::vector<std::string>> shards;
  for (const auto& [name, file] : map->items()) {
    const std::string place = where + ": weight_map: " + json_excerpt(json(name));
    if (!file.is_string()) {
      throw FormatError(place + ": expected the name of a file, got " + json_excerpt(file));
    }
    const auto& shard = file.get_ref<const std::string&>();
    check_shard_name(shard, place);
    shards[shard].push_back(name);
  }
  return shards;
}

namespace {

void add_shards(const fs::path& index_path, TensorFiles& files) {
  const std::string where = index_path.string();
  const auto shards = parse_shard_index(read_file(index_path), where);
  std::string missing;
  for (const auto& [shard, names] : shards) {
    if (!is_there(index_path.parent_path() / shard))
      missing += (missing.empty() ? "" : ", ") + shard;
  }
  if (!missing.empty()) {
    throw IoError(where + ": expected the shards that it names, missing: " + missing);
  }
  for (const auto& [shard, names] : shards) {
    add_file(index_path.parent_path() / shard, files);
  }
  // An index may name what no shard holds, the head of a tied model for one: what the model needs
  // is asked for later.
  for (const auto& [shard, names] : shards) {
    const std::string path = (index_path.parent_path() / shard).string();
    for (const std::string& name : names) {
      const auto found = files.tensors.find(name);
      if (found != files.tensors.end() && !found->second.where.starts_with(path + ": ")) {
        throw FormatError(path + ": expected the tensor " + json_excerpt(json(name)) + ", which " +
                          kIndexName + " places here, got it in " + found->second.where);
      }
    }
  }
}

}  // namespace

TensorFiles open_directory_tensors(const fs::path& directory) {
  TensorFiles files;
  files.where = directory.string();
  if (is_there(directory / kSingleName)) {
    add_file(directory / kSingleName, files);
  } else if (is_there(directory / kIndexName)) {
    add_shards(directory / kIndexName, files);
  } else {
    const bool pickled = is_there(directory / "pytorch_model.bin") ||
                         is_there(directory / "pytorch_model.bin.index.json");
    throw IoError(
        files.where + ": expected " + kSingleName + " or " + kIndexName + ", got " +
        (pickled ? "pytorch_model.bin, which transformers' save_pretrained converts" : "neither"));
  }
  return files;
}

}  // namespace diffllama
