#include "tasks/bench.h"

#include <cstdint>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "api/model.h"
#include "cli/common.h"
#include "kernels/isa.h"

namespace diffllama::cli {
namespace {

struct BenchCommand {
  ModelOptions model;
  std::vector<std::string> models;
  BenchOptions bench;
  bool json = false;
};

std::string_view name_of(ProductType type) {
  return type == ProductType::float32 ? "float32" : "bfloat16";
}

std::string cache_name_of(const Model::Impl& model) {
  return cache_type_name(cache_type_for(model.options.cache_type, model.weights.product_type));
}

nlohmann::ordered_json to_json(const BenchResult& result, const std::string& path,
                               const Model::Impl& model) {
  nlohmann::ordered_json entry = {{"model", path},
                                  {"weight_bytes", model.weights.packed_bytes()},
                                  {"dtype", name_of(model.weights.product_type)},
                                  {"cache_type", cache_name_of(model)},
                                  {"isa", isa_name(active_isa())},
                                  {"n_threads", model.parallel.threads()},
                                  {"n_prompt", result.n_prompt},
                                  {"n_gen", result.n_gen},
                                  {"n_depth", result.n_depth},
                                  {"avg_ts", result.avg_ts()},
                                  {"stddev_ts", result.stddev_ts()},
                                  {"samples_ts", result.samples_ts},
                                  {"flop_per_second", result.flop_per_second}};
  if (result.bytes_per_second) {
    entry["bytes_per_second"] = *result.bytes_per_second;
    entry["read_bandwidth"] = *result.read_bandwidth;
  }
  return entry;
}

void print_row(const BenchResult& result) {
  std::string work = result.n_prompt > 0 ? "prompt " + std::to_string(result.n_prompt)
                                         : "generate " + std::to_string(result.n_gen);
  if (result.n_depth > 0) work += " at depth " + std::to_string(result.n_depth);
  char line[200];
  std::snprintf(line, sizeof(line), "%-30s %9.2f +- %6.2f  %9.1f", work.c_str(), result.avg_ts(),
                result.stddev_ts(), result.flop_per_second * 1e-9);
  std::cout << line;
  if (result.bytes_per_second) {
    std::snprintf(line, sizeof(line), "  %6.1f  %6.1f  %5.2f", *result.bytes_per_second * 1e-9,
                  *result.read_bandwidth * 1e-9, *result.bytes_per_second / *result.read_bandwidth);
    std::cout << line;
  }
  std::cout << '\n';
}

void print_table(const std::vector<BenchResult>& results, const std::string& path,
                 const Model::Impl& model) {
  char line[120];
  std::snprintf(line, sizeof(line), ": %.1f MiB of weights, %s on %s, %s cache, %d threads\n",
                static_cast<double>(model.weights.packed_bytes()) / (1 << 20),
                std::string(name_of(model.weights.product_type)).c_str(),
                std::string(isa_name(active_isa())).c_str(), cache_name_of(model).c_str(),
                model.parallel.threads());
  std::cout << path << line;
  std::snprintf(line, sizeof(line), "%-30s %19s  %9s  %6s  %6s  %5s\n", "", "tokens/s", "GFLOP/s",
                "GB/s", "memory", "share");
  std::cout << line;
  for (const BenchResult& result : results) print_row(result);
  std::cout << std::flush;
}

void run(const BenchCommand& command) {
  if (command.bench.n_prompt == 0 && command.bench.n_gen == 0) {
    throw CLI::ValidationError("bench", "expected -p or -n above 0, got 0 for both");
  }
  std::vector<std::string> paths = command.models;
  if (paths.empty()) paths.push_back(model_path(command.model));
  nlohmann::ordered_json entries = nlohmann::ordered_json::array();
  for (const std::string& path : paths) {
    ModelOptions options = command.model;
    options.model = path;
    const Model model = load_model(options);
    const auto results = bench(model.impl().forward_model(), model.impl().parallel, command.bench);
    if (!command.json) print_table(results, path, model.impl());
    for (const BenchResult& result : results) {
      if (command.json) entries.push_back(to_json(result, path, model.impl()));
    }
  }
  if (command.json) {
    std::cout << entries.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  }
}

void add_bench_options(CLI::App& command, BenchOptions& options) {
  const CLI::Range tokens(std::int64_t{0}, std::int64_t{1} << 24);
  command.add_option("-p,--n-prompt", options.n_prompt, "Tokens of the prompt; 0: none")
      ->check(tokens)
      ->capture_default_str();
  command.add_option("-n,--n-gen", options.n_gen, "Tokens to generate; 0: none")
      ->check(tokens)
      ->capture_default_str();
  command.add_option("-d,--n-depth", options.n_depth, "Tokens in the cache before either begins")
      ->check(tokens)
      ->capture_default_str();
  command.add_option("-r,--repetitions", options.repetitions, "Times that each is measured")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
      ->capture_default_str();
}

}  // namespace

void add_bench_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "bench",
      "Tokens per second of a prompt and of generation, after a warm-up; needs no tokenizer. "
      "GFLOP/s counts products and attention; GB/s the weights and the cache that generation "
      "reads, beside what plain reading of memory reaches in the same run, and its share of that");
  const auto options = std::make_shared<BenchCommand>();
  command
      ->add_option("-m,--model", options->models,
                   "Hugging Face directory or .gguf file, several times for several models "
                   "(default: $DIFFLLAMA_MODEL, else diffllama-tiny)")
      ->allow_extra_args(false);
  add_compute_options(*command, options->model);
  add_bench_options(*command, options->bench);
  command->add_flag("--json", options->json,
                    "A list, an entry for the prompt and one for generation: n_prompt, n_gen, "
                    "n_depth, avg_ts, stddev_ts, samples_ts (tokens per second), flop_per_second, "
                    "bytes_per_second, read_bandwidth");
  command->callback([options] { run(*options); });
}

}  // namespace diffllama::cli
