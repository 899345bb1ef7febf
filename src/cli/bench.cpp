#include "diffllama/bench.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/common.h"
#include "cli/validators.h"

namespace diffllama::cli {
namespace {

struct BenchCommand {
  ModelOptions model;
  std::vector<std::string> models;
  BenchOptions bench;
  std::vector<std::int64_t> n_parallel;  // empty: one sequence, prompts and generation apart
  bool json = false;
  bool csv = false;
};

nlohmann::ordered_json number(const std::optional<double>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

// What --json and --csv say of every result; the names are llama-bench's where it has them.
nlohmann::ordered_json model_json(const std::string& path, const ModelRuntime& model) {
  return {{"model", path},
          {"weights", model.weight_format},
          {"weight_bytes", model.weight_bytes},
          {"dtype", compute_name(model.compute)},
          {"cache_type", cache_type_name(model.cache_type)},
          {"isa", model.isa},
          {"n_threads", model.threads}};
}

nlohmann::ordered_json to_json(const BenchResult& result) {
  return {{"n_prompt", result.n_prompt},
          {"n_gen", result.n_gen},
          {"n_depth", result.n_depth},
          {"avg_ts", result.avg_ts()},
          {"stddev_ts", result.stddev_ts()},
          {"median_ts", result.median_ts()},
          {"flop_per_second", result.flop_per_second},
          {"product_peak", number(result.product_peak)},
          {"bytes_per_second", number(result.bytes_per_second)},
          {"read_bandwidth", number(result.read_bandwidth)},
          {"samples_ts", result.samples_ts}};
}

nlohmann::ordered_json to_json(const ParallelBenchResult& result) {
  return {{"n_parallel", result.n_parallel},
          {"n_prompt", result.n_prompt},
          {"n_gen", result.n_gen},
          {"prompt_ts", result.prompt_ts()},
          {"decode_ts", number(result.decode_ts())},
          {"bytes_per_second", number(result.bytes_per_second)},
          {"read_bandwidth", number(result.read_bandwidth)},
          {"prompt_samples_ts", result.prompt_samples_ts},
          {"decode_samples_ts", result.decode_samples_ts}};
}

// One line a result, the names first; the samples, a list, are left to --json.
void print_csv(const nlohmann::ordered_json& entries) {
  bool first = true;
  for (nlohmann::ordered_json entry : entries) {
    for (const char* samples : {"samples_ts", "prompt_samples_ts", "decode_samples_ts"}) {
      entry.erase(samples);
    }
    std::string names;
    std::string values;
    for (const auto& [name, value] : entry.items()) {
      names += (names.empty() ? "" : ",") + name;
      values += values.empty() ? "" : ",";
      if (value.is_string()) {
        std::string text = value.get<std::string>();
        for (std::size_t at = 0; (at = text.find('"', at)) != std::string::npos; at += 2) {
          text.insert(at, 1, '"');
        }
        values += '"' + text + '"';
      } else if (!value.is_null()) {
        values += value.dump();
      }
    }
    if (first) std::cout << names << '\n';
    std::cout << values << '\n';
    first = false;
  }
}

void print_row(const BenchResult& result) {
  std::string work = result.n_prompt > 0 ? "prompt " + std::to_string(result.n_prompt)
                                         : "generate " + std::to_string(result.n_gen);
  if (result.n_depth > 0) work += " at depth " + std::to_string(result.n_depth);
  const bool reads = result.bytes_per_second.has_value();
  const double rate = reads ? *result.bytes_per_second : result.flop_per_second;
  const double limit = reads ? *result.read_bandwidth : *result.product_peak;
  char line[200];
  std::snprintf(line, sizeof(line), "%-30s %9.2f +- %6.2f  %9.1f %-7s  %9.1f  %5.2f", work.c_str(),
                result.avg_ts(), result.stddev_ts(), rate * 1e-9, reads ? "GB/s" : "GFLOP/s",
                limit * 1e-9, rate / limit);
  std::cout << line << '\n';
}

void print_row(const ParallelBenchResult& result) {
  const std::optional<double> decode = result.decode_ts();
  char line[200];
  std::snprintf(
      line, sizeof(line), "%-30s %12.2f %12.2f  %9.1f GB/s  %5.2f",
      (std::to_string(result.n_parallel) + " x (prompt " + std::to_string(result.n_prompt) +
       ", generate " + std::to_string(result.n_gen) + ")")
          .c_str(),
      result.prompt_ts(), decode.value_or(0), result.bytes_per_second.value_or(0) * 1e-9,
      decode ? *result.bytes_per_second / *result.read_bandwidth : 0);
  std::cout << line << '\n';
}

void print_heading(const BenchResult& /*first*/) {
  char line[120];
  std::snprintf(line, sizeof(line), "%-30s %19s  %17s  %9s  %5s\n", "", "tokens/s", "rate", "limit",
                "share");
  std::cout << line;
}

void print_heading(const ParallelBenchResult& /*first*/) {
  char line[120];
  std::snprintf(line, sizeof(line), "%-30s %12s %12s  %14s  %5s\n", "", "prompt t/s", "decode t/s",
                "decoding reads", "share");
  std::cout << line;
}

template <class Result>
void print_table(const std::vector<Result>& results, const std::string& path,
                 const ModelRuntime& model) {
  char line[120];
  std::snprintf(line, sizeof(line), ": %.1f MiB of weights (%s), %s on %s, %s cache, %d threads\n",
                static_cast<double>(model.weight_bytes) / (1 << 20), model.weight_format.c_str(),
                compute_name(model.compute).c_str(), model.isa.c_str(),
                cache_type_name(model.cache_type).c_str(), model.threads);
  std::cout << path << line;
  print_heading(results.front());
  for (const Result& result : results) print_row(result);
  std::cout << std::flush;
}

// Prints a model's results as a table, or adds them to `entries`.
template <class Result>
void show(const std::vector<Result>& results, const BenchCommand& command, const std::string& path,
          const ModelRuntime& model, nlohmann::ordered_json& entries) {
  if (!command.json && !command.csv) {
    print_table(results, path, model);
    return;
  }
  for (const Result& result : results) {
    entries.push_back(model_json(path, model));
    entries.back().update(to_json(result));
  }
}

ParallelBenchOptions parallel_options(const BenchCommand& command) {
  const BenchOptions& bench = command.bench;
  const auto one_above_0 = [](const std::vector<std::int64_t>& counts) {
    return counts.size() == 1 && counts.front() > 0;
  };
  if (!one_above_0(bench.n_prompt) || !one_above_0(bench.n_gen)) {
    throw CLI::ValidationError("bench",
                               "expected one -p above 0 and one -n above 0 with --parallel");
  }
  return {.n_parallel = command.n_parallel,
          .n_prompt = bench.n_prompt.front(),
          .n_gen = bench.n_gen.front(),
          .repetitions = bench.repetitions};
}

void run(const BenchCommand& command) {
  const auto any = [](const std::vector<std::int64_t>& counts) {
    return std::ranges::any_of(counts, [](std::int64_t count) { return count > 0; });
  };
  if (!any(command.bench.n_prompt) && !any(command.bench.n_gen)) {
    throw CLI::ValidationError("bench", "expected -p or -n above 0, got 0 for both");
  }
  std::optional<ParallelBenchOptions> together;
  if (!command.n_parallel.empty()) together = parallel_options(command);
  std::vector<std::string> paths = command.models;
  if (paths.empty()) paths.push_back(model_path(command.model));
  nlohmann::ordered_json entries = nlohmann::ordered_json::array();
  for (const std::string& path : paths) {
    ModelOptions options = command.model;
    options.model = path;
    const Model model = load_model(options);
    if (together) {
      show(parallel_bench(model, *together), command, path, model.runtime(), entries);
    } else {
      show(bench(model, command.bench), command, path, model.runtime(), entries);
    }
  }
  if (command.csv) print_csv(entries);
  if (command.json) {
    std::cout << entries.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  }
}

void add_bench_options(CLI::App& command, BenchOptions& options,
                       std::vector<std::int64_t>& n_parallel) {
  constexpr std::int64_t kMost = std::int64_t{1} << 24;
  add_counts_option(command,
                    {.name = "-p,--n-prompt",
                     .help = "Tokens of the prompt, or several counts with commas; 0: none",
                     .least = 0,
                     .most = kMost},
                    options.n_prompt);
  add_counts_option(command,
                    {.name = "-n,--n-gen",
                     .help = "Tokens to generate, or several counts; 0: none",
                     .least = 0,
                     .most = kMost},
                    options.n_gen);
  CLI::Option* depth =
      add_counts_option(command,
                        {.name = "-d,--n-depth",
                         .help = "Tokens in the cache before either begins, or several counts",
                         .least = 0,
                         .most = kMost},
                        options.n_depth);
  add_counts_option(command,
                    {.name = "--parallel",
                     .help = "Requests at once, or several counts: each has a prompt of -p tokens "
                             "and generates -n; tokens per second of all together",
                     .least = 1,
                     .most = 4096},
                    n_parallel)
      ->excludes(depth);
  command.add_option("-r,--repetitions", options.repetitions, "Times that each is measured")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
      ->capture_default_str();
}

}  // namespace

void add_bench_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "bench",
      "Tokens per second of prompts and of generation, after a warm-up; needs no tokenizer. A "
      "prompt's rate is its products' and attention's GFLOP/s, beside what such products reach in "
      "the caches; generation's rate is the GB/s of weights and cache that it reads, beside what "
      "plain reading of memory reaches. Both limits are measured in the same run");
  const auto options = std::make_shared<BenchCommand>();
  add_path_option(*command, "-m,--model", options->models,
                  "Hugging Face directory or .gguf file, several times for several models "
                  "(default: $DIFFLLAMA_MODEL, else diffllama-tiny)")
      ->allow_extra_args(false);
  add_compute_options(*command, options->model);
  add_bench_options(*command, options->bench, options->n_parallel);
  CLI::Option* json = command->add_flag(
      "--json", options->json,
      "A list with an entry for each prompt and each generation: n_prompt, n_gen, n_depth, avg_ts, "
      "stddev_ts, median_ts, samples_ts (tokens per second), flop_per_second, product_peak, "
      "bytes_per_second, read_bandwidth, and the model's. With --parallel an entry for each count: "
      "n_parallel, n_prompt, n_gen, prompt_ts, decode_ts, and the like");
  command->add_flag("--csv", options->csv, "The same without the samples, a line an entry")
      ->excludes(json);
  command->callback([options] { run(*options); });
}

}  // namespace diffllama::cli
