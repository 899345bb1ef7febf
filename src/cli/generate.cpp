#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "checkpoint/gguf/gguf.h"
#include "checkpoint/gguf/gguf_config.h"
#include "cli/common.h"
#include "config/generation_config.h"
#include "diffllama/error.h"
#include "diffllama/generation.h"
#include "diffllama/tokenizer.h"

namespace diffllama::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

struct GenerateOptions {
  ModelOptions model;
  std::vector<std::string> prompts, files;
  std::optional<std::string> input_ids;
  bool json = false;

  // What the command line says over generation_config.json.
  std::optional<std::int64_t> max_new_tokens, min_new_tokens, top_k, no_repeat_ngram_size,
      num_return_sequences;
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<std::uint64_t> seed;
  std::vector<std::string> stop_strings;
  bool do_sample = false;
  bool ignore_eos = false;
};

void warn(const std::string& text) { std::cerr << "warning: " << text << '\n'; }

std::string read_all(std::istream& stream, const std::string& name) {
  std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  if (stream.bad()) throw IoError(name + ": expected to read it, got an error");
  return text;
}

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file || fs::is_directory(path)) {
    throw IoError(path.string() + ": expected a file that can be read");
  }
  return read_all(file, path.string());
}

// An editor and echo end a text with a newline that is not meant as part of the prompt.
std::string without_last_newline(std::string text) {
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

std::vector<std::string> read_prompts(const GenerateOptions& options) {
  if (!options.prompts.empty()) return options.prompts;
  std::vector<std::string> prompts;
  for (const std::string& path : options.files) {
    prompts.push_back(without_last_newline(read_file(path)));
  }
  if (!prompts.empty()) return prompts;
  if (isatty(STDIN_FILENO) != 0) {
    throw CLI::ValidationError("generate",
                               "expected a prompt: -p, -f, --input-ids or standard input");
  }
  return {without_last_newline(read_all(std::cin, "standard input"))};
}

std::vector<std::vector<std::int64_t>> parse_input_ids(const std::string& text) {
  const auto wrong = [&] {
    return CLI::ValidationError("--input-ids",
                                "expected lists of token ids, such as [[5,9,11],[7]], got " + text);
  };
  nlohmann::json lists;
  try {
    lists = parse_json(text, "--input-ids");
  } catch (const FormatError&) {
    throw wrong();
  }
  if (!lists.is_array() || lists.empty()) throw wrong();
  std::vector<std::vector<std::int64_t>> prompts;
  for (const auto& list : lists) {
    if (!list.is_array()) throw wrong();
    std::vector<std::int64_t>& ids = prompts.emplace_back();
    for (const auto& id : list) {
      const bool fits =
          id.is_number_unsigned() ? id.get<std::uint64_t>() <= INT64_MAX : id.is_number_integer();
      if (!fits) throw wrong();
      ids.push_back(id.get<std::int64_t>());
    }
  }
  return prompts;
}

// generation_config.json beside the model, or in a GGUF file that was made from one.
GenerationConfig default_generation_config(const fs::path& model) {
  if (fs::is_regular_file(model)) {
    const GgufFile file(model);
    const auto text = file.text(kGenerationConfigKey);
    if (!text) return {};
    return parse_generation_config(*text, file.where() + ": " + kGenerationConfigKey, warn);
  }
  const fs::path file = model / "generation_config.json";
  if (!fs::exists(file)) return {};
  return parse_generation_config(read_file(file), file.string(), warn);
}

GenerationConfig generation_config(const GenerateOptions& options, const fs::path& model) {
  GenerationConfig config = default_generation_config(model);
  const auto set = [](const auto& given, auto& value) {
    if (given) value = *given;
  };
  set(options.max_new_tokens, config.max_new_tokens);
  if (options.max_new_tokens) config.max_length.reset();
  set(options.min_new_tokens, config.min_new_tokens);
  if (options.min_new_tokens) config.min_length.reset();
  set(options.temperature, config.temperature);
  if (options.temperature) config.do_sample = *options.temperature > 0;
  if (options.do_sample && config.temperature > 0) config.do_sample = true;
  set(options.top_k, config.top_k);
  set(options.top_p, config.top_p);
  set(options.min_p, config.min_p);
  set(options.repetition_penalty, config.repetition_penalty);
  set(options.no_repeat_ngram_size, config.no_repeat_ngram_size);
  set(options.num_return_sequences, config.num_return_sequences);
  set(options.seed, config.seed);
  if (!options.stop_strings.empty()) config.stop_strings = options.stop_strings;
  config.ignore_eos = options.ignore_eos;

  if (const std::string problem = find_problem(config); !problem.empty()) {
    throw CLI::ValidationError(problem, CLI::ExitCodes::ValidationError);
  }
  if (!config.do_sample && (options.top_k || options.top_p || options.min_p || options.seed)) {
    warn(
        "--top-k, --top-p, --min-p and --seed change nothing without --do-sample or a "
        "--temperature above 0");
  }
  return config;
}

// Token ids of each prompt. The tokenizer, where there is one, is needed for text alone when ids
// are given.
std::vector<std::vector<std::int64_t>> read_token_ids(const GenerateOptions& options,
                                                      const fs::path& model,
                                                      std::optional<Tokenizer>& tokenizer) {
  if (options.input_ids) {
    auto prompts = parse_input_ids(*options.input_ids);
    try {
      tokenizer.emplace(Tokenizer::from_pretrained(model, warn));
    } catch (const Error& error) {
      warn(std::string("no text, token ids only: ") + error.what());
    }
    return prompts;
  }
  const std::vector<std::string> texts = read_prompts(options);
  tokenizer.emplace(Tokenizer::from_pretrained(model, warn));
  std::vector<std::vector<std::int64_t>> prompts;
  for (const std::string& text : texts) {
    prompts.push_back(tokenizer->encode(text).ids);
    // As transformers does without a prompt.
    const std::optional<std::int64_t> bos = tokenizer->bos_token_id();
    if (prompts.back().empty() && bos) prompts.back() = {*bos};
  }
  return prompts;
}

// When a sequence's tokens came, in seconds from the start.
struct Timing {
  double first = 0;
  double last = 0;
  std::int64_t tokens = 0;

  void add(double now) {
    if (tokens++ == 0) first = now;
    last = now;
  }
  double tokens_per_second() const {
    return tokens > 1 && last > first ? static_cast<double>(tokens - 1) / (last - first) : 0;
  }
};

const char* name_of(StopReason reason) {
  switch (reason) {
    case StopReason::eos:
      return "eos";
    case StopReason::length:
      return "length";
    case StopReason::stop_string:
      return "stop_string";
  }
  return "";
}

void print_json(const GeneratedSequence& sequence, std::size_t prompt_tokens,
                const Timing& timing) {
  const nlohmann::ordered_json line = {{"index", sequence.prompt_index},
                                       {"ids", sequence.ids},
                                       {"text", sequence.text},
                                       {"stop_reason", name_of(sequence.stop_reason)},
                                       {"timings",
                                        {{"prompt_tokens", prompt_tokens},
                                         {"prompt_ms", 1e3 * timing.first},
                                         {"new_tokens", timing.tokens},
                                         {"new_ms", 1e3 * (timing.last - timing.first)},
                                         {"tokens_per_second", timing.tokens_per_second()}}}};
  std::cout << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
}

void print_speed(std::span<const std::vector<std::int64_t>> prompts,
                 const std::vector<Timing>& timings) {
  std::size_t prompt_tokens = 0;
  for (const auto& ids : prompts) prompt_tokens += ids.size();
  Timing all{.first = timings.front().first};
  std::int64_t tokens = 0;
  for (const Timing& timing : timings) {
    all.last = std::max(all.last, timing.last);
    all.first = std::min(all.first, timing.first);
    tokens += timing.tokens;
  }
  std::fprintf(stderr, "%zu prompt tokens, %lld new tokens in %.2f s", prompt_tokens,
               static_cast<long long>(tokens), all.last);
  const auto later = static_cast<double>(tokens - static_cast<std::int64_t>(timings.size()));
  if (later > 0 && all.last > all.first) {
    std::fprintf(stderr, ": first after %.3f s, then %.1f a second", all.first,
                 later / (all.last - all.first));
  }
  std::fputc('\n', stderr);
}

void run(const GenerateOptions& options) {
  const fs::path path = model_path(options.model);
  const GenerationConfig config = generation_config(options, path);
  std::optional<Tokenizer> tokenizer;
  const auto prompts = read_token_ids(options, path, tokenizer);
  const Model model = load_model(options.model);

  const std::size_t count = prompts.size() * static_cast<std::size_t>(config.num_return_sequences);
  const bool streams = count == 1 && !options.json && tokenizer;
  std::vector<Timing> timings(count);
  const auto start = Clock::now();
  const auto on_token = [&](std::int64_t sequence, std::int64_t, const std::string& text) {
    timings[static_cast<std::size_t>(sequence)].add(
        std::chrono::duration<double>(Clock::now() - start).count());
    if (!streams || text.empty()) return;
    std::cout << text << std::flush;
    if (!std::cout) throw IoError("expected to write to standard output, got an error");
  };
  const auto sequences =
      generate(model, prompts, config, tokenizer ? &*tokenizer : nullptr, on_token);

  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const GeneratedSequence& sequence = sequences[i];
    if (options.json) {
      print_json(sequence, prompts[static_cast<std::size_t>(sequence.prompt_index)].size(),
                 timings[i]);
    } else if (!tokenizer) {
      std::cout << nlohmann::json(sequence.ids).dump() << '\n';
    } else if (!streams) {
      std::cout << sequence.text << '\n';
    } else if (isatty(STDOUT_FILENO) != 0) {
      std::cout << '\n';
    }
  }
  std::cout.flush();
  if (!options.json) print_speed(prompts, timings);
}

// CLI11 would wrap a negative number and cut one that is too large.
std::string unsigned_integer(const std::string& text) {
  std::uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc() && stop == end) return {};
  return "expected an integer from 0 to 18446744073709551615, got " + text;
}

void add_prompt_options(CLI::App& command, GenerateOptions& options) {
  auto* prompts =
      command.add_option("-p,--prompt", options.prompts, "Prompt; may be given several times")
          ->allow_extra_args(false);
  auto* files = command
                    .add_option("-f,--file", options.files,
                                "File that holds a prompt (one last newline is left out); may be "
                                "given several times")
                    ->allow_extra_args(false)
                    ->excludes(prompts);
  command
      .add_option("--input-ids", options.input_ids,
                  "Token ids in place of prompts, such as [[5,9,11],[7]]; needs no tokenizer")
      ->excludes(prompts)
      ->excludes(files);
}

void add_generation_options(CLI::App& command, GenerateOptions& options) {
  command.add_option("--max-new-tokens", options.max_new_tokens,
                     "Most new tokens of a sequence (128)");
  command.add_option("--min-new-tokens", options.min_new_tokens,
                     "No EOS before as many new tokens (0)");
  command.add_flag("--ignore-eos", options.ignore_eos, "Go on after EOS");
  command
      .add_option("--stop", options.stop_strings,
                  "Stop at this string, which is not part of the text; may be given several times")
      ->allow_extra_args(false);
  command.add_option("--repetition-penalty", options.repetition_penalty,
                     "Above 1: tokens seen before, in the prompt too, become less likely (1)");
  command.add_option("--no-repeat-ngram-size", options.no_repeat_ngram_size,
                     "No run of as many tokens comes twice; 0: off");
  command.add_flag("--do-sample", options.do_sample, "Draw tokens instead of taking the likeliest");
  command.add_option("--temperature", options.temperature,
                     "Above 0: draw tokens, from logits divided by it; 0: greedy");
  command.add_option("--top-k", options.top_k, "Draw from the K likeliest tokens; 0: off (50)");
  command.add_option("--top-p", options.top_p,
                     "Draw from the likeliest tokens that make up this probability; 1: off");
  command.add_option("--min-p", options.min_p,
                     "Draw from tokens this likely in proportion to the likeliest; 0: off");
  command.add_option("--seed", options.seed, "The same seed gives the same draws (0)")
      ->check(unsigned_integer);
  command.add_option("--num-return-sequences", options.num_return_sequences,
                     "Sequences drawn for each prompt (1)");
}

}  // namespace

void add_generate_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "generate",
      "Continue prompts. Only the text goes to standard output: as it comes for a single sequence, "
      "else each text with a newline behind it, in the order of the prompts. Without a tokenizer: "
      "token ids, a list a line. Defaults come from the model's generation_config.json.");
  const auto options = std::make_shared<GenerateOptions>();
  add_model_options(*command, options->model);
  add_prompt_options(*command, *options);
  add_generation_options(*command, *options);
  command->add_flag("--json", options->json,
                    "An object a line for each sequence: index (of the prompt), ids, text, "
                    "stop_reason (eos, length, stop_string), timings");
  command->callback([options] { run(*options); });
}

}  // namespace diffllama::cli
