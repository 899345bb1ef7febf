#include "diffllama/perplexity.h"

#include <cstdint>
#include <iomanip>
#include <iostream>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "cli/common.h"
#include "cli/progress.h"
#include "diffllama/documents.h"
#include "diffllama/tokenizer.h"

namespace diffllama::cli {
namespace {

struct PerplexityOptions {
  ModelOptions model;
  std::string file;
  bool json = false;
};

void add_documents(const std::string& path, const Tokenizer& tokenizer, Perplexity& perplexity) {
  DocumentReader reader({path});
  Progress progress(reader.total_bytes(), "tokens");
  std::int64_t tokens = 0;
  for (Document document; reader.next(document);) {
    const auto ids = tokenizer.encode(document.text).ids;
    perplexity.add(ids);
    tokens += static_cast<std::int64_t>(ids.size());
    progress.update(reader.bytes_read(), tokens);
  }
}

void run(const PerplexityOptions& options) {
  const Model model = load_model(options.model);
  const Tokenizer tokenizer = Tokenizer::from_pretrained(model_path(options.model), print_warning);
  Perplexity perplexity(model);
  add_documents(options.file, tokenizer, perplexity);
  const Perplexity::Result result = perplexity.result();
  if (options.json) {
    const nlohmann::ordered_json line = {
        {"perplexity", result.perplexity},
        {"negative_log_likelihood", result.negative_log_likelihood},
        {"tokens", result.tokens},
        {"documents", result.documents}};
    std::cout << line.dump() << '\n';
    return;
  }
  std::cout << "perplexity " << std::setprecision(6) << result.perplexity
            << "\nnegative log-likelihood " << result.negative_log_likelihood << " a token\ntokens "
            << result.tokens << "\ndocuments " << result.documents << '\n';
}

}  // namespace

void add_perplexity_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "perplexity",
      "exp of the mean negative log-likelihood of a causal LM on documents: each alone with its "
      "special tokens, in windows of max_position_embeddings that do not overlap");
  const auto options = std::make_shared<PerplexityOptions>();
  add_model_options(*command, options->model);
  command
      ->add_option(
          "FILE", options->file,
          "Documents: JSON lines, objects with \"text\" (.jsonl, .ndjson, .json), or a text "
          "file, which is one; a directory of such files")
      ->required();
  command->add_flag("--json", options->json,
                    "One object: perplexity, negative_log_likelihood (mean), tokens (predicted), "
                    "documents");
  command->callback([options] { run(*options); });
}

}  // namespace diffllama::cli
