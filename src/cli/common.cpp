#include "cli/common.h"

#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <map>
#include <system_error>

#include "base/text.h"
#include "cli/validators.h"
#include "diffllama/checkpoint.h"
#include "diffllama/error.h"

namespace diffllama::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDefaultModel = "diffllama-tiny";

const std::map<std::string, ComputeType> kComputeTypes = {{"auto", ComputeType::automatic},
                                                          {"float32", ComputeType::float32},
                                                          {"bfloat16", ComputeType::bfloat16}};

const std::map<std::string, CacheType> kCacheTypes = {{"auto", CacheType::automatic},
                                                      {"f32", CacheType::f32},
                                                      {"bf16", CacheType::bf16},
                                                      {"q8_0", CacheType::q8_0}};

fs::path program_folder() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error).parent_path();
}

}  // namespace

void add_model_option(CLI::App& command, ModelOptions& options) {
  add_path_option(
      command, "-m,--model", options.model,
      "Hugging Face directory or .gguf file (default: $DIFFLLAMA_MODEL, else diffllama-tiny)");
}

void add_compute_options(CLI::App& command, ModelOptions& options) {
  command
      .add_option("-t,--threads", options.threads,
                  "Threads; 0: one per core. Never changes a result")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command
      .add_option("--prefill-chunk", options.prefill_chunk,
                  "Most tokens at once. Never changes a result")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30))
      ->capture_default_str();
  command
      .add_option_function<std::string>(
          "--dtype",
          [&options](const std::string& name) { options.compute = kComputeTypes.at(name); },
          "How products are computed: auto (float32 for float32 and float16 weights, else "
          "bfloat16), float32, bfloat16")
      ->check(CLI::IsMember({"auto", "float32", "bfloat16"}))
      ->default_str(compute_name(options.compute));
  add_cache_option(command, options.cache_type);
  add_path_option(command, "--adapter", options.adapter,
                  "LoRA adapter as PEFT saves it, a directory; merged into the weights");
  command.add_flag("--packed-copy", options.packed_copy,
                   "Keep the weights, packed as products read them, in a file beside the model, "
                   "and map it at later starts. Never changes a result");
}

void add_cache_option(CLI::App& command, CacheType& type) {
  command
      .add_option_function<std::string>(
          "--cache-type", [&type](const std::string& name) { type = kCacheTypes.at(name); },
          "How keys and values are kept: auto (as products are computed), f32, bf16, q8_0 (int8, "
          "a scale for every 32)")
      ->check(CLI::IsMember({"auto", "f32", "bf16", "q8_0"}))
      ->default_str(cache_type_name(type));
}

std::string compute_name(ComputeType compute) {
  for (const auto& [name, type] : kComputeTypes) {
    if (type == compute) return name;
  }
  return "";
}

std::string cache_type_name(CacheType type) {
  for (const auto& [name, value] : kCacheTypes) {
    if (value == type) return name;
  }
  return "";
}

void add_model_options(CLI::App& command, ModelOptions& options) {
  add_model_option(command, options);
  add_compute_options(command, options);
}

fs::path model_path(const ModelOptions& options) {
  if (!options.model.empty()) return find_model(options.model);
  if (const char* model = std::getenv("DIFFLLAMA_MODEL"); model != nullptr && *model != '\0')
    return model;
  const fs::path in_source = fs::path(DIFFLLAMA_MODELS_IN_SOURCE) / kDefaultModel;
  const fs::path installed =
      (program_folder() / DIFFLLAMA_MODELS_FROM_PROGRAM / kDefaultModel).lexically_normal();
  // An installed program must not depend on the tree that it was built in.
  for (const fs::path& path : {installed, in_source}) {
    if (fs::exists(path / "config.json")) return path;
  }
  throw IoError("expected a model: give -m or $DIFFLLAMA_MODEL; found none in " +
                installed.string() + " or " + in_source.string());
}

void print_line(const std::string& text) { std::cerr << printable(text) << '\n'; }

void print_warning(const std::string& text) { print_line("warning: " + text); }

std::string without_last_newline(std::string text) {
  if (text.ends_with('\n')) text.resize(text.size() - (text.ends_with("\r\n") ? 2 : 1));
  return text;
}

LoadOptions load_options(const ModelOptions& options) {
  LoadOptions load;
  load.compute = options.compute;
  load.threads = options.threads;
  load.prefill_chunk = options.prefill_chunk;
  load.cache_type = options.cache_type;
  load.adapter = options.adapter;
  load.packed_copy = options.packed_copy;
  load.warn = print_warning;
  return load;
}

Model load_model(const ModelOptions& options) {
  return Model::from_pretrained(model_path(options), load_options(options));
}

}  // namespace diffllama::cli
