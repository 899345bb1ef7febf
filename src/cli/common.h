#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include <CLI/CLI.hpp>

#include "diffllama/model.h"

namespace diffllama::cli {

/// What every command that computes takes.
struct ModelOptions {
  std::string model;  // empty: the model that ships in models/
  int threads = 0;    // 0: one per core
  std::int64_t prefill_chunk = 512;
  ComputeType compute = ComputeType::automatic;
  CacheType cache_type = CacheType::automatic;
  std::string adapter;  // empty: none
  bool packed_copy = false;
};

/// -m, --model
void add_model_option(CLI::App& command, ModelOptions& options);
/// -t/--threads, --prefill-chunk, --dtype, the default of which is what `options` holds,
/// --cache-type, --adapter and --packed-copy.
void add_compute_options(CLI::App& command, ModelOptions& options);
/// Both.
void add_model_options(CLI::App& command, ModelOptions& options);

/// --cache-type
void add_cache_option(CLI::App& command, CacheType& type);
/// As --dtype and --cache-type have them.
std::string compute_name(ComputeType compute);
std::string cache_type_name(CacheType type);

/// The path that -m gives; without it $DIFFLLAMA_MODEL, or diffllama-tiny in the source tree or the
/// installed prefix; in a directory, find_model(). Throws IoError that says where it looked.
std::filesystem::path model_path(const ModelOptions& options);
/// A line on stderr, the one door for messages: what came from outside is made printable.
void print_line(const std::string& text);
/// "warning: TEXT" on stderr.
void print_warning(const std::string& text);
/// What from_pretrained takes; warnings go to stderr.
LoadOptions load_options(const ModelOptions& options);
/// Loads it.
Model load_model(const ModelOptions& options);

/// Without the newline, LF or CR LF, that an editor or echo ends a prompt with.
std::string without_last_newline(std::string text);

/// Ends the program with this status: what there is to say was said.
struct ExitStatus {
  int status;
};

// One for each file of this folder; the callback may throw diffllama::Error.
void add_forward_command(CLI::App& app);
void add_tokenize_command(CLI::App& app);
void add_tokenizer_command(CLI::App& app);
void add_generate_command(CLI::App& app);
void add_info_command(CLI::App& app);
void add_perplexity_command(CLI::App& app);
void add_bench_command(CLI::App& app);
void add_convert_command(CLI::App& app);
void add_quantize_command(CLI::App& app);
void add_train_command(CLI::App& app);
void add_apply_chat_template_command(CLI::App& app);
void add_chat_command(CLI::App& app);
void add_attention_command(CLI::App& app);

}  // namespace diffllama::cli
