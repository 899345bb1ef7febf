#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/regular_file.h"
#include "base/text.h"
#include "cli/common.h"
#include "cli/generation_options.h"
#include "cli/validators.h"
#include "diffllama/constraint.h"
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
  std::string assistant_model;  // empty: none
  bool json = false;

  // Each empty or one of them given: what the text may be.
  std::string json_schema, regex, grammar;
  bool regex_given = false;  // the empty one is one

  // What the command line says over generation_config.json, named as there.
  nlohmann::json given = nlohmann::json::object();
};

std::vector<std::string> read_prompts(const GenerateOptions& options) {
  if (!options.prompts.empty()) return options.prompts;
  std::vector<std::string> prompts;
  for (const std::string& path : options.files) {
    prompts.push_back(without_last_newline(read_file_or_pipe(path)));
  }
  if (!prompts.empty()) return prompts;
  if (isatty(STDIN_FILENO) != 0) {
    throw CLI::ValidationError("generate",
                               "expected a prompt: -p, -f, --input-ids or standard input");
  }
  return {without_last_newline(read_standard_input())};
}

std::vector<std::vector<std::int64_t>> parse_input_ids(const std::string& text) {
  const auto wrong = [&] {
    return CLI::ValidationError(
        "--input-ids",
        "expected lists of token ids, such as [[5,9,11],[7]], got " + shortened(text));
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

// Token ids of each prompt. The tokenizer, where there is one, is needed for text alone when ids
// are given.
std::vector<std::vector<std::int64_t>> read_token_ids(const GenerateOptions& options,
                                                      const fs::path& model,
                                                      std::optional<Tokenizer>& tokenizer) {
  if (options.input_ids) {
    auto prompts = parse_input_ids(*options.input_ids);
    try {
      tokenizer.emplace(Tokenizer::from_pretrained(model, print_warning));
    } catch (const Error& error) {
      print_warning(std::string("no text, token ids only: ") + error.what());
    }
    return prompts;
  }
  const std::vector<std::string> texts = read_prompts(options);
  tokenizer.emplace(Tokenizer::from_pretrained(model, print_warning));
  std::vector<std::vector<std::int64_t>> prompts;
  for (const std::string& text : texts) {
    prompts.push_back(tokenizer->encode(text).ids);
    // As transformers does without a prompt.
    const std::optional<std::int64_t> bos = tokenizer->bos_token_id();
    if (prompts.back().empty() && bos) prompts.back() = {*bos};
  }
  return prompts;
}

std::shared_ptr<const Constraint> make_constraint(const GenerateOptions& options,
                                                  const std::optional<Tokenizer>& tokenizer) {
  const bool schema = !options.json_schema.empty(), grammar = !options.grammar.empty();
  if (!schema && !grammar && !options.regex_given) return nullptr;
  if (!tokenizer) throw IoError("expected a tokenizer for --json-schema, --regex or --grammar");
  const std::string& path = schema ? options.json_schema : options.grammar;
  try {
    if (options.regex_given) return Constraint::from_regex(options.regex, *tokenizer);
    const std::string text = read_file(path);
    return schema ? Constraint::from_json_schema(text, *tokenizer)
                  : Constraint::from_grammar(text, *tokenizer);
  } catch (const InvalidArgument& error) {
    throw FormatError((options.regex_given ? std::string("--regex") : path) + ": " + error.what());
  }
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

void print_json(const GeneratedSequence& sequence, bool beams, std::size_t prompt_tokens,
                const Timing& timing) {
  nlohmann::ordered_json line = {{"index", sequence.prompt_index},
                                 {"ids", sequence.ids},
                                 {"text", sequence.text},
                                 {"stop_reason", stop_reason_name(sequence.stop_reason)},
                                 {"timings",
                                  {{"prompt_tokens", prompt_tokens},
                                   {"prompt_ms", 1e3 * timing.first},
                                   {"new_tokens", timing.tokens},
                                   {"new_ms", 1e3 * (timing.last - timing.first)},
                                   {"tokens_per_second", timing.tokens_per_second()}}}};
  if (beams) line["score"] = sequence.score;
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
  GenerationConfig config = GenerationConfig::from_pretrained(path, print_warning);
  set_generation_options(options.given, "generate", config);
  std::optional<Tokenizer> tokenizer;
  const auto prompts = read_token_ids(options, path, tokenizer);
  config.constraint = make_constraint(options, tokenizer);
  const Model model = load_model(options.model);
  check_given_eos(options.given, config, model.config().vocab_size);
  std::optional<Model> assistant;
  if (!options.assistant_model.empty()) {
    ModelOptions draft = options.model;
    draft.model = options.assistant_model;
    draft.adapter.clear();
    assistant.emplace(load_model(draft));
  }

  const std::size_t count = prompts.size() * static_cast<std::size_t>(config.num_return_sequences);
  const bool streams = count == 1 && !options.json && tokenizer;
  std::vector<Timing> timings(count);
  const auto start = Clock::now();
  const auto on_token = [&](std::int64_t sequence, std::int64_t, const std::string& text) {
    Timing& timing = timings[static_cast<std::size_t>(sequence)];
    timing.add(std::chrono::duration<double>(Clock::now() - start).count());
    if (config.num_beams > 1) timing.first = 0;  // all come at the end: the prompt is part of it
    if (!streams || text.empty()) return;
    std::cout << text << std::flush;
    if (!std::cout) throw IoError("expected to write to standard output, got an error");
  };
  const auto sequences = generate(model, prompts, config, tokenizer ? &*tokenizer : nullptr,
                                  on_token, assistant ? &*assistant : nullptr);

  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const GeneratedSequence& sequence = sequences[i];
    if (options.json) {
      print_json(sequence, config.num_beams > 1,
                 prompts[static_cast<std::size_t>(sequence.prompt_index)].size(), timings[i]);
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

void add_prompt_options(CLI::App& command, GenerateOptions& options) {
  auto* prompts =
      command.add_option("-p,--prompt", options.prompts, "Prompt; may be given several times")
          ->allow_extra_args(false);
  auto* files = add_path_option(command, "-f,--file", options.files,
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

void add_constraint_options(CLI::App& command, GenerateOptions& options) {
  auto* schema = add_path_option(command, "--json-schema", options.json_schema,
                                 "File of a JSON schema that the text must satisfy");
  auto* regex = command.add_option_function<std::string>(
      "--regex",
      [&options](const std::string& text) {
        options.regex = text;
        options.regex_given = true;
      },
      "Regular expression (ECMA-262) that the text must match as a whole");
  auto* grammar = add_path_option(command, "--grammar", options.grammar,
                                  "File of a GBNF grammar that the text must follow");
  schema->excludes(regex)->excludes(grammar);
  regex->excludes(grammar);
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
  add_generation_options(*command, options->given);
  add_constraint_options(*command, *options);
  add_path_option(*command, "--assistant-model", options->assistant_model,
                  "Smaller model of the same vocabulary that guesses tokens ahead: faster, and "
                  "every token stays the same");
  command->add_flag("--json", options->json,
                    "An object a line for each sequence: index (of the prompt), ids, text, "
                    "stop_reason (eos, length, stop_string), timings, and of beam search score "
                    "(null of a sequence that there is not)");
  command->callback([options] { run(*options); });
}

}  // namespace diffllama::cli
