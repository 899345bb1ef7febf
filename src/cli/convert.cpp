#include <charconv>
#include <map>
#include <memory>
#include <string>

#include "cli/common.h"
#include "cli/progress.h"
#include "diffllama/checkpoint.h"

namespace diffllama::cli {
namespace {

struct Options {
  std::string in, out, adapter, dtype = "float32";
  std::uint64_t part_bytes = 0;
  bool pad_vocab = false;
};

const std::map<std::string, DType> kTypes = {
    {"float32", DType::float32}, {"float16", DType::float16}, {"bfloat16", DType::bfloat16}};

// As llama-gguf-split reads it: millions or milliards of bytes.
std::uint64_t parse_size(const std::string& text) {
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [unit, error] = std::from_chars(text.data(), end, number);
  constexpr std::uint64_t kMost = 1'000'000'000;
  const bool known = end - unit == 1 && (*unit == 'M' || *unit == 'G');
  if (error != std::errc() || !known || number == 0 || number > kMost) {
    throw CLI::ValidationError("--split-max-size",
                               "expected a number from 1 to 1000000000 and M "
                               "or G, such as 500M, got " +
                                   text);
  }
  return number * (*unit == 'M' ? 1'000'000 : 1'000'000'000);
}

void run(const Options& options) {
  ConvertOptions convert;
  convert.expanded = kTypes.at(options.dtype);
  convert.adapter = options.adapter;
  convert.pad_vocab = options.pad_vocab;
  convert.part_bytes = options.part_bytes;
  convert.warn = print_warning;
  convert.progress = write_progress();
  convert_model(find_model(options.in), options.out, convert);
}

}  // namespace

void add_convert_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "convert",
      "A Hugging Face directory to a GGUF file, or a GGUF file to a directory. float32, float16 "
      "and bfloat16 weights keep their bits; block-quantised ones are expanded in a directory. "
      "With --merge-adapter also a directory to a directory, or a file to a file");
  const auto options = std::make_shared<Options>();
  command->add_option("IN", options->in, "Hugging Face directory or .gguf file")->required();
  command->add_option("OUT", options->out, ".gguf file, or a directory that is absent or empty")
      ->required();
  command
      ->add_option("--dtype", options->dtype,
                   "What block-quantised weights become in a directory: float32 (what "
                   "transformers makes of a gguf_file), float16, bfloat16")
      ->check(CLI::IsMember({"float32", "float16", "bfloat16"}))
      ->capture_default_str();
  command->add_option("--merge-adapter", options->adapter,
                      "LoRA adapter as PEFT saves it, a directory; what it changes is computed in "
                      "float32 and keeps its type, --dtype where that is block-quantised");
  command->add_option_function<std::string>(
      "--split-max-size",
      [options](const std::string& text) { options->part_bytes = parse_size(text); },
      "N(M|G): a GGUF file whose tensors take more becomes parts, OUT-00001-of-0000N.gguf and so "
      "on; the first opens the model");
  command->add_flag("--pad-vocab", options->pad_vocab,
                    "Where a directory's tokenizer has more tokens than the embeddings have rows, "
                    "give these a row for each, the mean of the others");
  command->callback([options] { run(*options); });
}

}  // namespace diffllama::cli
