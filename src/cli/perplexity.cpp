#include "tasks/perplexity.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "api/model.h"
#include "base/json.h"
#include "cli/common.h"
#include "cli/progress.h"
#include "diffllama/error.h"
#include "diffllama/tokenizer.h"

namespace diffllama::cli {
namespace {

namespace fs = std::filesystem;

struct PerplexityOptions {
  ModelOptions model;
  std::string file;
  bool json = false;
};

std::string document_text(const std::string& line, const std::string& where) {
  const nlohmann::json document = parse_json(line, where);
  const auto text = document.is_object() ? document.find("text") : document.end();
  if (text == document.end() || !text->is_string()) {
    throw FormatError(where + ": expected an object with a string \"text\", got " +
                      json_excerpt(document));
  }
  return text->get<std::string>();
}

bool is_blank(const std::string& line) {
  return line.find_first_not_of(" \t\r") == std::string::npos;
}

void add_documents(const std::string& path, const Tokenizer& tokenizer, Perplexity& perplexity) {
  std::ifstream file(path, std::ios::binary);
  if (!file || fs::is_directory(path)) {
    throw IoError(path + ": expected a file that can be read");
  }
  std::error_code unknown;
  const std::uintmax_t size = fs::file_size(path, unknown);
  Progress progress(unknown ? 0 : size, "tokens");
  std::uint64_t read = 0;
  std::int64_t tokens = 0;
  std::string line;
  for (std::int64_t number = 1; std::getline(file, line); ++number) {
    read += line.size() + 1;
    if (is_blank(line)) continue;
    const auto ids =
        tokenizer.encode(document_text(line, path + ": line " + std::to_string(number))).ids;
    perplexity.add(ids);
    tokens += static_cast<std::int64_t>(ids.size());
    progress.update(read, tokens);
  }
  if (file.bad()) throw IoError(path + ": expected to read it, got an error");
}

void run(const PerplexityOptions& options) {
  const Model model = load_model(options.model);
  const Tokenizer tokenizer = Tokenizer::from_pretrained(
      model_path(options.model),
      [](const std::string& text) { std::cerr << "warning: " << text << '\n'; });
  const ForwardModel forward_model = model.impl().forward_model();
  Perplexity perplexity(forward_model, model.impl().parallel);
  add_documents(options.file, tokenizer, perplexity);
  const double value = perplexity.value();
  const double loss =
      perplexity.negative_log_likelihood() / static_cast<double>(perplexity.tokens());
  if (options.json) {
    const nlohmann::ordered_json result = {{"perplexity", value},
                                           {"negative_log_likelihood", loss},
                                           {"tokens", perplexity.tokens()},
                                           {"documents", perplexity.documents()}};
    std::cout << result.dump() << '\n';
    return;
  }
  std::cout << "perplexity " << std::setprecision(6) << value << "\nnegative log-likelihood "
            << loss << " a token\ntokens " << perplexity.tokens() << "\ndocuments "
            << perplexity.documents() << '\n';
}

}  // namespace

void add_perplexity_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "perplexity",
      "exp of the mean negative log-likelihood of a causal LM on documents: each alone with its "
      "special tokens, in windows of max_position_embeddings that do not overlap");
  const auto options = std::make_shared<PerplexityOptions>();
  add_model_options(*command, options->model);
  command->add_option("FILE", options->file, "JSON lines, objects with \"text\"")->required();
  command->add_flag("--json", options->json,
                    "One object: perplexity, negative_log_likelihood (mean), tokens (predicted), "
                    "documents");
  command->callback([options] { run(*options); });
}

}  // namespace diffllama::cli
