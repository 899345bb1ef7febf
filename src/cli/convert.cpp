#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "cli/common.h"
#include "cli/progress.h"
#include "cli/validators.h"
#include "diffllama/checkpoint.h"
#include "diffllama/error.h"
#include "diffllama/model.h"

namespace diffllama::cli {
namespace {

struct Options {
  std::string in, out, adapter, dtype = "float32";
  std::uint64_t part_bytes = 0;
  bool pad_vocab = false;
  std::string to;  // another member of the family; empty: the same
  bool mirror = false, split_heads = false;
  double noise = 0;
  std::uint64_t seed = 0;
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

Model load_plain(const std::filesystem::path& path) {
  LoadOptions load;
  load.compute = ComputeType::float32;
  load.warn = [](const std::string&) {};  // said before
  return Model::from_pretrained(path, load);
}

// How far two models of one vocabulary lie apart on random tokens, in float32. One is in memory at
// a time. Throws where that is no number: nothing is proved then.
void print_difference(const std::filesystem::path& in, const std::filesystem::path& out) {
  ForwardInputs inputs;
  const auto run_old = [&] {
    const Model model = load_plain(in);
    const auto length = std::min<std::int64_t>(64, model.config().max_position_embeddings);
    std::mt19937_64 random;  // NOLINT(cert-msc51-cpp): the same tokens every time
    std::vector<std::int64_t> ids;
    for (std::int64_t i = 0; i < length; ++i) {
      ids.push_back(static_cast<std::int64_t>(
          random() % static_cast<std::uint64_t>(model.config().vocab_size)));
    }
    inputs.input_ids = Tensor::from(ids, {1, length});
    inputs.labels = inputs.input_ids;
    return model.forward(inputs);
  };
  const ForwardOutput before = run_old();
  const ForwardOutput after = load_plain(out).forward(inputs);
  double largest = 0;
  double size = 0;
  for (std::size_t i = 0; i < before.logits->f32().size(); ++i) {
    const double value = before.logits->f32()[i];
    size = std::max(size, std::abs(value));
    const double difference = std::abs(double{after.logits->f32()[i]} - value);
    if (std::isnan(difference) || difference > largest) largest = difference;  // a NaN stays
  }
  std::printf("largest difference of logits on %lld random tokens: %.3g, of logits up to %.3g\n",
              static_cast<long long>(inputs.input_ids->size()), largest, size);
  std::printf("loss on them: %.5g before, %.5g after\n", double{before.loss.value()},
              double{after.loss.value()});
  if (!std::isfinite(largest)) {
    throw FormatError(in.string() + ": expected finite logits before and after, got " +
                      (std::isnan(largest) ? "nan" : "inf"));
  }
}

void run_family(const Options& options, const ConvertOptions& convert) {
  if (options.mirror && options.split_heads) {
    throw CLI::ValidationError("--mirror", "expected one of --mirror and --split-heads, got both");
  }
  if (!options.adapter.empty() || options.pad_vocab || options.part_bytes != 0) {
    throw CLI::ValidationError(
        "--to", "expected no --merge-adapter, --pad-vocab or --split-max-size beside it");
  }
  const std::filesystem::path in = find_model(options.in);
  const FamilyOptions family{
      .to = family_targets().at(options.to),
      .heads = options.mirror        ? PairedHeads::mirror
               : options.split_heads ? PairedHeads::split_heads
                                     : PairedHeads::none,
      .noise = options.noise,
      .seed = options.seed,
      .prove = [&](const std::filesystem::path& finished) { print_difference(in, finished); }};
  convert_family(in, options.out, family, convert);
}

void run(const Options& options) {
  ConvertOptions convert;
  convert.expanded = kTypes.at(options.dtype);
  convert.adapter = options.adapter;
  convert.pad_vocab = options.pad_vocab;
  convert.part_bytes = options.part_bytes;
  convert.warn = print_warning;
  convert.progress = write_progress();
  if (!options.to.empty()) return run_family(options, convert);
  convert_model(find_model(options.in), options.out, convert);
}

void add_family_options(CLI::App& command, Options& options) {
  std::vector<std::string> targets;
  for (const auto& [name, target] : family_targets()) targets.push_back(name);
  CLI::Option* to =
      command
          .add_option(
              "--to", options.to,
              "Another member of the family of differential attention, into a directory: a "
              "Llama to diff_transformer_v2 or dex (the same function) or diffllama (with "
              "--mirror or --split-heads: another); diff_transformer to diffllama and back. "
              "Prints how far the logits of random tokens lie apart")
          ->check(CLI::IsMember(targets));
  command
      .add_flag("--mirror", options.mirror,
                "To diffllama: a pair of maps of each head, which doubles the key heads")
      ->needs(to);
  command
      .add_flag("--split-heads", options.split_heads,
                "To diffllama: the second half of the heads become the first half's second maps")
      ->needs(to);
  command
      .add_option("--noise", options.noise,
                  "Standard deviation of normal noise on the second maps' queries, so that equal "
                  "maps part in training; of DEX's matrices")
      ->needs(to)
      ->check(number_from_to(0, 10));
  command.add_option("--seed", options.seed, "Of the noise")
      ->needs(to)
      ->check(natural_number())
      ->capture_default_str();
}

}  // namespace

void add_convert_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "convert",
      "A Hugging Face directory to a GGUF file, or a GGUF file to a directory. float32, float16 "
      "and bfloat16 weights keep their bits; block-quantised ones are expanded in a directory. "
      "With --merge-adapter also a directory to a directory, or a file to a file");
  const auto options = std::make_shared<Options>();
  add_path_option(*command, "IN", options->in, "Hugging Face directory or .gguf file")->required();
  add_path_option(*command, "OUT", options->out,
                  ".gguf file, or a directory that is absent or empty")
      ->required();
  command
      ->add_option("--dtype", options->dtype,
                   "What block-quantised weights become in a directory: float32 (what "
                   "transformers makes of a gguf_file), float16, bfloat16")
      ->check(CLI::IsMember({"float32", "float16", "bfloat16"}))
      ->capture_default_str();
  add_path_option(*command, "--merge-adapter", options->adapter,
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
  add_family_options(*command, *options);
  command->callback([options] { run(*options); });
}

}  // namespace diffllama::cli
