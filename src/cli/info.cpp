#include <cstdio>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "cli/common.h"
#include "config/model_config.h"
#include "config/names.h"
#include "diffllama/error.h"
#include "diffllama/tokenizer.h"
#include "kernels/isa.h"
#include "model/kv_cache.h"
#include "model/load_weights.h"
#include "model/parameters.h"
#include "model/weights.h"

namespace diffllama::cli {
namespace {

namespace fs = std::filesystem;

struct InfoOptions {
  ModelOptions model;
  bool json = false;
};

struct Storage {
  std::int64_t tensors = 0, parameters = 0, bytes = 0;

  void add(std::int64_t count, std::int64_t size) {
    ++tensors;
    parameters += count;
    bytes += size;
  }
};

struct TokenizerInfo {
  std::int64_t vocab_size = 0;
  std::optional<std::int64_t> bos_token_id, eos_token_id;
};

struct PackedCopyInfo {
  fs::path path;
  std::int64_t bytes = 0;
  bool usable = false;
};

struct Info {
  fs::path path;
  ModelConfig config;
  Storage all;
  std::map<DType, Storage> by_dtype;
  ProductType compute = ProductType::float32;
  CacheType cache_type = CacheType::automatic;
  std::int64_t kv_bytes_per_token = 0;
  std::int64_t kv_bytes = 0;  // for max_position_embeddings tokens, in whole blocks
  std::optional<TokenizerInfo> tokenizer;
  std::vector<PackedCopyInfo> packed_copies;

  /// Weights as they are stored, the cache of one sequence as long as the model takes, and what
  /// scratch, tokenizer and program need at most.
  std::int64_t peak_memory() const { return all.bytes + kv_bytes + (std::int64_t{128} << 20); }
  const char* format() const { return fs::is_directory(path) ? "Hugging Face" : "GGUF"; }
  const char* compute_name() const {
    return compute == ProductType::float32 ? "float32" : "bfloat16";
  }
  std::string architecture() const {
    return architecture_name(config.model_type, config.architecture);
  }
};

std::vector<PackedCopyInfo> find_packed_copies(const fs::path& model, const Checkpoint& checkpoint,
                                               const Parameters& parameters) {
  std::vector<PackedCopyInfo> found;
  for (const ProductType type : {ProductType::float32, ProductType::bfloat16}) {
    PackedCopyInfo copy = {.path = packed_copy_path(model, type)};
    std::error_code error;
    if (!fs::is_regular_file(copy.path, error)) continue;
    copy.bytes = static_cast<std::int64_t>(fs::file_size(copy.path, error));
    try {
      const PackedFile opened(copy.path, packed_copy_spec(checkpoint, parameters, type),
                              Parallel());
      copy.usable = true;
    } catch (const Error& refusal) {
      print_warning(refusal.what());
    }
    found.push_back(std::move(copy));
  }
  return found;
}

Info gather(const ModelOptions& options) {
  Info info;
  info.path = model_path(options);
  const auto checkpoint =
      std::make_shared<const Checkpoint>(Checkpoint::open(info.path, print_warning));
  info.config = checkpoint->config();
  for (const TensorSpec& spec : tensor_specs(info.config)) {
    const StoredTensor* stored = checkpoint->find(spec.name);
    if (stored == nullptr) continue;
    const std::int64_t count = element_count(spec.shape);
    const auto bytes = static_cast<std::int64_t>(stored->view.bytes.size());
    info.all.add(count, bytes);
    info.by_dtype[stored->view.dtype].add(count, bytes);
  }
  const Parameters parameters = stored_parameters(checkpoint);
  info.compute = product_type(ComputeType::automatic, parameters);
  info.packed_copies = find_packed_copies(info.path, *checkpoint, parameters);
  info.cache_type = cache_type_for(options.cache_type, info.compute);
  const CacheLayout cache(AttentionGeometry::of(info.config), info.config.num_hidden_layers,
                          info.cache_type);
  const std::int64_t blocks =
      (info.config.max_position_embeddings + kCacheBlockKeys - 1) / kCacheBlockKeys;
  info.kv_bytes_per_token = static_cast<std::int64_t>(cache.bytes_per_key());
  info.kv_bytes = blocks * static_cast<std::int64_t>(cache.block);
  try {
    const Tokenizer tokenizer = Tokenizer::from_pretrained(info.path, print_warning);
    info.tokenizer = {.vocab_size = tokenizer.vocab_size(),
                      .bos_token_id = tokenizer.bos_token_id(),
                      .eos_token_id = tokenizer.eos_token_id()};
  } catch (const Error& error) {
    print_warning(std::string("no tokenizer: ") + error.what());
  }
  return info;
}

nlohmann::ordered_json to_json(const std::optional<std::int64_t>& id) {
  return id ? nlohmann::ordered_json(*id) : nlohmann::ordered_json();
}

void print_json(const Info& info) {
  using nlohmann::ordered_json;
  ordered_json storage = ordered_json::object();
  for (const auto& [dtype, part] : info.by_dtype) {
    storage[std::string(dtype_name(dtype))] = {
        {"tensors", part.tensors}, {"parameters", part.parameters}, {"bytes", part.bytes}};
  }
  ordered_json tokenizer;
  if (info.tokenizer) {
    tokenizer = {{"vocab_size", info.tokenizer->vocab_size},
                 {"bos_token_id", to_json(info.tokenizer->bos_token_id)},
                 {"eos_token_id", to_json(info.tokenizer->eos_token_id)}};
  }
  ordered_json copies = ordered_json::array();
  for (const PackedCopyInfo& copy : info.packed_copies) {
    copies.push_back(
        {{"path", copy.path.string()}, {"bytes", copy.bytes}, {"usable", copy.usable}});
  }
  const ordered_json result = {{"path", info.path.string()},
                               {"format", info.format()},
                               {"architecture", info.architecture()},
                               {"parameters", info.all.parameters},
                               {"bytes", info.all.bytes},
                               {"storage", storage},
                               {"compute", info.compute_name()},
                               {"isa", isa_name(active_isa())},
                               {"cache_type", cache_type_name(info.cache_type)},
                               {"kv_bytes_per_token", info.kv_bytes_per_token},
                               {"peak_memory_bytes", info.peak_memory()},
                               {"packed_copies", copies},
                               {"tokenizer", tokenizer},
                               {"config", ordered_json::parse(write_model_config(info.config))}};
  std::cout << result.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
}

std::string with_unit(std::int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f MiB", static_cast<double>(bytes) / (1 << 20));
  return text;
}

void print_text(const Info& info) {
  const ModelConfig& config = info.config;
  const auto line = [](const char* name, const std::string& value) {
    std::cout << std::left << std::setw(15) << name << value << '\n';
  };
  const auto number = [](std::int64_t value) { return std::to_string(value); };
  line("model", info.path.string() + " (" + info.format() + ")");
  line("architecture", info.architecture());
  line("parameters", number(info.all.parameters) + ", " + with_unit(info.all.bytes));
  for (const auto& [dtype, part] : info.by_dtype) {
    line("", std::string(dtype_name(dtype)) + ": " + number(part.parameters) + " in " +
                 number(part.tensors) + " tensors, " + with_unit(part.bytes));
  }
  line("compute", std::string(info.compute_name()) + " products, " +
                      std::string(isa_name(active_isa())) + " kernels");
  line("kv cache", cache_type_name(info.cache_type) + ", " + number(info.kv_bytes_per_token) +
                       " bytes a token, " + with_unit(info.kv_bytes) + " for " +
                       number(config.max_position_embeddings) + " tokens");
  line("peak memory", "at most " + with_unit(info.peak_memory()) + " for one such sequence");
  for (const PackedCopyInfo& copy : info.packed_copies) {
    line("packed copy", copy.path.string() + ", " + with_unit(copy.bytes) +
                            (copy.usable ? "" : ", not of these files: made anew when used"));
  }
  if (info.tokenizer) {
    const auto id = [&](const std::optional<std::int64_t>& value) {
      return value ? number(*value) : std::string("none");
    };
    line("tokenizer", number(info.tokenizer->vocab_size) + " tokens, BOS " +
                          id(info.tokenizer->bos_token_id) + ", EOS " +
                          id(info.tokenizer->eos_token_id));
  } else {
    line("tokenizer", "none");
  }
  std::cout << write_model_config(config);
}

}  // namespace

void add_info_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "info", "What a model is: configuration, parameters, dtypes, tokenizer. Loads no weights");
  const auto options = std::make_shared<InfoOptions>();
  add_model_option(*command, options->model);
  add_cache_option(*command, options->model.cache_type);
  command->add_flag("--json", options->json, "One JSON object");
  command->callback([options] {
    const Info info = gather(options->model);
    if (options->json) {
      print_json(info);
    } else {
      print_text(info);
    }
  });
}

}  // namespace diffllama::cli
