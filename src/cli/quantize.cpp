#include <algorithm>
#include <cctype>
#include <memory>
#include <string>

#include "base/text.h"
#include "cli/common.h"
#include "cli/progress.h"
#include "cli/validators.h"
#include "diffllama/checkpoint.h"

namespace diffllama::cli {
namespace {

struct Options {
  std::string in, out, type;
  int threads = 0;
  bool pad_vocab = false;
};

std::string type_names() {
  std::string names;
  for (const std::string& type : quantized_types()) names += (names.empty() ? "" : ", ") + type;
  return names;
}

std::string check_type(const std::string& name) {
  std::string upper = name;
  std::ranges::transform(upper, upper.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  if (std::ranges::count(quantized_types(), upper) > 0) return "";
  return "expected " + type_names() + ", got " + shortened(name);
}

void run(const Options& options) {
  QuantizeOptions quantize;
  quantize.threads = options.threads;
  quantize.pad_vocab = options.pad_vocab;
  quantize.warn = print_warning;
  quantize.progress = write_progress();
  quantize_model(find_model(options.in), options.out, options.type, quantize);
}

}  // namespace

void add_quantize_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "quantize",
      "A model as a GGUF file with smaller weights, each tensor in the type that llama.cpp's rules "
      "give it; vectors stay float32");
  const auto options = std::make_shared<Options>();
  add_path_option(*command, "IN", options->in, "Hugging Face directory or .gguf file")->required();
  add_path_option(*command, "OUT", options->out, ".gguf file")->required();
  command->add_option("TYPE", options->type, type_names())
      ->required()
      ->check(CLI::Validator(check_type, ""));
  command
      ->add_option("-t,--threads", options->threads,
                   "Threads; 0: one per core. Never changes a byte")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_flag("--pad-vocab", options->pad_vocab,
                    "Where a directory's tokenizer has more tokens than the embeddings have rows, "
                    "give these a row for each, the mean of the others");
  command->callback([options] { run(*options); });
}

}  // namespace diffllama::cli
