#include "checkpoint/conversion/convert.h"

#include <map>
#include <memory>
#include <string>

#include "cli/common.h"
#include "cli/progress.h"

namespace diffllama::cli {
namespace {

struct Options {
  std::string in, out, adapter, dtype = "float32";
};

const std::map<std::string, DType> kTypes = {
    {"float32", DType::float32}, {"float16", DType::float16}, {"bfloat16", DType::bfloat16}};

void run(const Options& options) {
  ConvertOptions convert;
  convert.expanded = kTypes.at(options.dtype);
  convert.adapter = options.adapter;
  convert.warn = print_warning;
  convert.progress = write_progress();
  convert_model(options.in, options.out, convert);
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
  command->callback([options] { run(*options); });
}

}  // namespace diffllama::cli
