#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/regular_file.h"
#include "cli/common.h"
#include "cli/validators.h"
#include "diffllama/checkpoint.h"
#include "diffllama/error.h"
#include "diffllama/files.h"
#include "diffllama/microscope.h"
#include "diffllama/safetensors.h"
#include "diffllama/tokenizer.h"

namespace diffllama::cli {
namespace {

namespace fs = std::filesystem;

struct AttentionOptions {
  AttentionOptions() { model.compute = ComputeType::float32; }

  ModelOptions model;
  std::optional<std::string> prompt, answer;
  std::string file;    // of the prompt; empty: none
  std::string output;  // empty: none
  MicroscopeOptions microscope;
  std::int64_t top = 5;
  bool json = false;
};

std::string read_prompt(const AttentionOptions& options) {
  if (options.prompt) return *options.prompt;
  return without_last_newline(options.file.empty() ? read_standard_input()
                                                   : read_file_or_pipe(options.file));
}

// Words of the text, or tokens BEGIN:END.
TokenSpan read_answer(const std::string& answer, const std::string& text,
                      const Encoding& encoding) {
  const std::size_t colon = answer.find(':');
  const auto number = [&](std::string_view digits) {
    return !digits.empty() && digits.size() < 10 &&
           digits.find_first_not_of("0123456789") == std::string_view::npos;
  };
  const std::string_view begin = std::string_view(answer).substr(0, colon);
  if (text.find(answer) == std::string::npos && colon != std::string::npos && number(begin) &&
      number(std::string_view(answer).substr(colon + 1))) {
    return {.begin = std::stoll(answer), .end = std::stoll(answer.substr(colon + 1))};
  }
  return find_answer(text, answer, encoding);
}

// In lower case: FILE.HTML is a page too.
std::string extension_of(const fs::path& path) {
  std::string extension = path.extension();
  std::ranges::transform(extension, extension.begin(), [](char letter) {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
  });
  return extension;
}

void write_output(const AttentionOptions& options, const AttentionReport& report) {
  const std::string extension = extension_of(options.output);
  if (extension == ".html") {
    write_file_atomically(options.output, to_html(report));
  } else if (extension == ".png") {
    const MicroscopeOptions& chosen = options.microscope;
    write_file_atomically(options.output,
                          to_png(report, chosen.layer.value_or(0), chosen.head.value_or(0)));
  } else {
    const std::map<std::string, Tensor> tensors = to_tensors(report);
    std::map<std::string, TensorView> views;
    for (const auto& [name, tensor] : tensors) views[name] = tensor.view();
    save_safetensors(options.output, views);
  }
}

void print_row(const std::string& name, const std::vector<double>& numbers) {
  std::cout << std::left << std::setw(8) << name << std::right << std::fixed
            << std::setprecision(4);
  for (const double number : numbers) std::cout << std::setw(10) << number;
  std::cout << '\n';
}

void print_measures(const std::string& name, const AttentionMeasures& measures, bool two) {
  const AttentionShare& first = measures.first.last_token;
  const AttentionShare& difference = measures.difference.last_token;
  if (!two) {
    return print_row(name, {first.answer, first.bos, first.rest, measures.first.entropy});
  }
  print_row(name, {measures.lambda, first.answer, difference.answer, first.bos, difference.bos,
                   first.rest, difference.rest, measures.difference.negative_mass,
                   measures.first.entropy, measures.second.entropy, measures.difference.entropy});
}

void print_largest(const std::string& name, const LargestValues& values) {
  print_row(name, {values.top_1, values.top_2, values.top_3, values.top_10, values.top_100,
                   values.median});
}

// DEX's lambda in the layers that have it, over their heads.
void print_dex(const AttentionReport& report) {
  bool first = true;
  for (std::size_t i = 0; i < report.layers.size(); ++i) {
    std::vector<double> lambdas;
    for (const AttentionHead& head : report.layers[i].heads) {
      if (head.dex_lambda) lambdas.push_back(*head.dex_lambda);
    }
    if (lambdas.empty()) continue;
    if (first) std::cout << "\nLambda of DEX over a layer's heads: mean, smallest, largest\n";
    first = false;
    const auto [smallest, largest] = std::ranges::minmax(lambdas);
    const double sum = std::accumulate(lambdas.begin(), lambdas.end(), 0.0);
    print_row(std::to_string(i), {sum / static_cast<double>(lambdas.size()), smallest, largest});
  }
}

void print_text(const AttentionReport& report) {
  const bool two = report.maps == 2;
  std::cout << report.architecture << ", " << report.ids.size() << " tokens";
  if (report.answer) {
    std::cout << ", answer in tokens " << report.answer->begin << ':' << report.answer->end;
  }
  std::cout << "\n\nWhere the last token looks (answer, first token, rest), "
            << (two ? "in A1 and in P = A1 - lambda A2; negative mass; " : "")
            << "entropy in nats\n        ";
  const std::vector<std::string> names =
      two ? std::vector<std::string>{"lambda", "answer",   "P",       "first", "P", "rest",
                                     "P",      "negative", "entropy", "A2",    "P"}
          : std::vector<std::string>{"answer", "first", "rest", "entropy"};
  for (const std::string& name : names) std::cout << std::setw(10) << name;
  std::cout << '\n';
  for (std::size_t i = 0; i < report.layers.size(); ++i) {
    print_measures(std::to_string(i), report.layers[i].mean, two);
  }
  print_measures("mean", report.mean, two);
  print_dex(report);
  std::cout << "\nLargest magnitudes\n        ";
  for (const char* name : {"top 1", "top 2", "top 3", "top 10", "top 100", "median"}) {
    std::cout << std::setw(10) << name;
  }
  std::cout << "\nattention logits\n";
  for (std::size_t i = 0; i < report.layers.size(); ++i) {
    print_largest(std::to_string(i), report.layers[i].attention_logits);
  }
  print_largest("all", report.attention_logits);
  std::cout << "layers' outputs\n";
  for (std::size_t i = 0; i < report.layers.size(); ++i) {
    print_largest(std::to_string(i), report.layers[i].hidden_states);
  }
  print_largest("all", report.hidden_states);
}

void run(const AttentionOptions& options) {
  if (!options.output.empty()) {
    refuse_overwriting(options.output, model_files(model_path(options.model)));
    refuse_overwriting(options.output, model_files(options.model.adapter));
    if (!options.file.empty()) refuse_overwriting(options.output, {options.file});
  }
  const Model model = load_model(options.model);
  const Tokenizer tokenizer = Tokenizer::from_pretrained(model_path(options.model), print_warning);
  const std::string text = read_prompt(options);
  const Encoding encoding = tokenizer.encode(text);
  MicroscopeOptions microscope = options.microscope;
  if (options.answer) microscope.answer = read_answer(*options.answer, text, encoding);
  if (extension_of(options.output) == ".png" && !options.json) {
    microscope.layer = microscope.layer.value_or(0);
    microscope.head = microscope.head.value_or(0);
  }
  microscope.keep_maps = options.json || !options.output.empty();
  const AttentionReport report = attention_report(model, tokenizer, encoding.ids, microscope);
  if (!options.output.empty()) write_output(options, report);
  if (options.json) {
    std::cout << to_json(report, options.top) << '\n';
  } else if (options.output.empty()) {
    print_text(report);
  }
}

}  // namespace

void add_attention_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "attention",
      "Look into a model's attention on a text: maps, lambda, what is read, shares, entropy, "
      "largest values, as a table, JSON, a page, an image or tensors");
  const auto options = std::make_shared<AttentionOptions>();
  add_model_options(*command, options->model);
  auto* prompt = command->add_option("-p,--prompt", options->prompt,
                                     "The text; without it that of --file or standard input");
  add_path_option(*command, "-f,--file", options->file, "A file with the text")->excludes(prompt);
  const CLI::Range natural(std::int64_t{0}, std::int64_t{1} << 30);
  command->add_option("--layer", options->microscope.layer, "Maps of this layer alone, from 0")
      ->check(natural);
  command
      ->add_option("--head", options->microscope.head,
                   "Maps of this output head (pair) alone, from 0")
      ->check(natural);
  command->add_option("--answer", options->answer,
                      "Words of the text, at their first place, or tokens BEGIN:END: how much "
                      "attention falls there");
  add_path_option(*command, "-o,--output", options->output,
                  "FILE.html: a page for a browser; FILE.png: the maps of one head (--layer, "
                  "--head; 0 without them); FILE.safetensors: the maps")
      ->check(
          [](const std::string& path) {
            const std::string extension = extension_of(path);
            return extension == ".html" || extension == ".png" || extension == ".safetensors"
                       ? ""
                       : "expected FILE.html, FILE.png or FILE.safetensors, got " + path;
          },
          "FILE");
  command
      ->add_option("--top", options->top, "Tokens read that --json lists for each token that reads")
      ->check(natural)
      ->capture_default_str();
  command->add_flag("--json", options->json,
                    "One object: all measures, the maps (--layer and --head limit them) and what "
                    "each token reads most");
  command->callback([options] { run(*options); });
}

}  // namespace diffllama::cli
