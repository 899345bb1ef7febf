#include <cstdio>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "cli/common.h"
#include "diffllama/error.h"
#include "diffllama/model_info.h"
#include "diffllama/tokenizer.h"

namespace diffllama::cli {
namespace {

namespace fs = std::filesystem;

struct InfoOptions {
  ModelOptions model;
  bool json = false;
};

struct TokenizerInfo {
  std::int64_t vocab_size = 0;
  std::optional<std::int64_t> bos_token_id, eos_token_id;
};

struct Info {
  ModelInfo model;
  std::optional<TokenizerInfo> tokenizer;

  const char* format() const { return fs::is_directory(model.path) ? "Hugging Face" : "GGUF"; }
};

Info gather(const ModelOptions& options) {
  Info info;
  info.model = model_info(model_path(options), options.cache_type, print_warning);
  try {
    const Tokenizer tokenizer = Tokenizer::from_pretrained(info.model.path, print_warning);
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
  const ModelInfo& model = info.model;
  ordered_json storage = ordered_json::object();
  for (const auto& [dtype, part] : model.storage_by_dtype) {
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
  for (const ModelInfo::PackedCopy& copy : model.packed_copies) {
    copies.push_back(
        {{"path", copy.path.string()}, {"bytes", copy.bytes}, {"usable", copy.usable}});
  }
  const ordered_json result = {{"path", model.path.string()},
                               {"format", info.format()},
                               {"architecture", model.config.class_name()},
                               {"parameters", model.storage.parameters},
                               {"bytes", model.storage.bytes},
                               {"storage", storage},
                               {"compute", compute_name(model.compute)},
                               {"isa", model.isa},
                               {"cache_type", cache_type_name(model.cache_type)},
                               {"kv_bytes_per_token", model.cache_bytes_per_token},
                               {"peak_memory_bytes", model.peak_memory_bytes},
                               {"packed_copies", copies},
                               {"tokenizer", tokenizer},
                               {"config", ordered_json::parse(model.config.to_json())}};
  std::cout << result.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
}

std::string with_unit(std::int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f MiB", static_cast<double>(bytes) / (1 << 20));
  return text;
}

void print_text(const Info& info) {
  const ModelInfo& model = info.model;
  const auto line = [](const char* name, const std::string& value) {
    std::cout << std::left << std::setw(15) << name << value << '\n';
  };
  const auto number = [](std::int64_t value) { return std::to_string(value); };
  line("model", model.path.string() + " (" + info.format() + ")");
  line("architecture", model.config.class_name());
  line("parameters", number(model.storage.parameters) + ", " + with_unit(model.storage.bytes));
  for (const auto& [dtype, part] : model.storage_by_dtype) {
    line("", std::string(dtype_name(dtype)) + ": " + number(part.parameters) + " in " +
                 number(part.tensors) + " tensors, " + with_unit(part.bytes));
  }
  line("compute", compute_name(model.compute) + " products, " + model.isa + " kernels");
  line("kv cache", cache_type_name(model.cache_type) + ", " + number(model.cache_bytes_per_token) +
                       " bytes a token, " + with_unit(model.cache_bytes) + " for " +
                       number(model.config.max_position_embeddings) + " tokens");
  line("peak memory", "at most " + with_unit(model.peak_memory_bytes) + " for one such sequence");
  for (const ModelInfo::PackedCopy& copy : model.packed_copies) {
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
  std::cout << model.config.to_json();
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
