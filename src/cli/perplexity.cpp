#include "diffllama/perplexity.h"

#include <cstddef>
#include <cstdint>
#include <iomanip>
#include <iostream>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/common.h"
#include "cli/progress.h"
#include "cli/task_lines.h"
#include "cli/validators.h"
#include "diffllama/documents.h"
#include "diffllama/tokenizer.h"

namespace diffllama::cli {
namespace {

struct PerplexityCommand {
  ModelOptions model;
  std::string file;                 // in all
  std::string lines_file;           // a line a document, as for what follows
  std::optional<std::string> text;  // nothing, as the files: standard input
  bool json = false;
  PerplexityOptions options;
};

void print_json(const nlohmann::ordered_json& line) {
  std::cout << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
}

/// Prints a JSON line of each document, in order.
class DocumentLines {
 public:
  explicit DocumentLines(Perplexity& perplexity) : perplexity_(perplexity) {}
  void add(const std::string& where, std::size_t tokens) {
    constexpr std::size_t kTogether = 2048;  // tokens that go through the model together
    places_.push_back(where);
    tokens_ += tokens;
    if (tokens_ >= kTogether) print();
  }
  void print() {
    const std::vector<Perplexity::Result> results = perplexity_.documents();
    for (std::size_t i = 0; i < results.size(); ++i) {
      print_json({{"document", places_[i]},
                  {"perplexity", results[i].perplexity},
                  {"negative_log_likelihood", results[i].negative_log_likelihood},
                  {"tokens", results[i].tokens}});
    }
    places_.clear();
    tokens_ = 0;
  }

 private:
  Perplexity& perplexity_;
  std::vector<std::string> places_;
  std::size_t tokens_ = 0;
};

void add_documents(const PerplexityCommand& command, const Tokenizer& tokenizer,
                   Perplexity& perplexity) {
  const bool by_document = command.json && command.file.empty();
  DocumentLines lines(perplexity);
  std::int64_t tokens = 0;
  const auto add = [&](const std::string& text, const std::string& where) {
    const auto ids = tokenizer.encode(text).ids;
    perplexity.add(ids);
    if (by_document) lines.add(where, ids.size());
    tokens += static_cast<std::int64_t>(ids.size());
  };
  if (command.text) {
    add(*command.text, "-p");
  } else if (command.file.empty() && command.lines_file.empty()) {
    InputLines input(std::nullopt);
    for (std::string line; input.next(line);) {
      add(text_field(parse_line(line, input.where()), "text", input.where()), input.where());
    }
  } else {
    DocumentReader reader({command.lines_file.empty() ? command.file : command.lines_file});
    Progress progress(reader.total_bytes(), "tokens");
    for (Document document; reader.next(document);) {
      add(document.text, document.where);
      progress.update(reader.bytes_read(), tokens);
    }
  }
  if (by_document) lines.print();
}

void print_text(const Perplexity::Result& result, std::ostream& out) {
  out << "perplexity " << std::setprecision(6) << result.perplexity << "\nnegative log-likelihood "
      << result.negative_log_likelihood << " a token\ntokens " << result.tokens << "\ndocuments "
      << result.documents << '\n';
}

void run(const PerplexityCommand& command) {
  const Model model = load_model(command.model);
  const Tokenizer tokenizer = Tokenizer::from_pretrained(model_path(command.model), print_warning);
  Perplexity perplexity(model, command.options);
  add_documents(command, tokenizer, perplexity);
  const Perplexity::Result result = perplexity.result();
  if (!command.json) {
    print_text(result, std::cout);
  } else if (command.file.empty()) {
    print_text(result, std::cerr);
  } else {
    print_json({{"perplexity", result.perplexity},
                {"negative_log_likelihood", result.negative_log_likelihood},
                {"tokens", result.tokens},
                {"documents", result.documents}});
  }
}

}  // namespace

void add_perplexity_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "perplexity",
      "exp of the mean negative log-likelihood of a causal LM on documents: each alone with its "
      "special tokens, in windows of max_position_embeddings");
  const auto options = std::make_shared<PerplexityCommand>();
  add_model_options(*command, options->model);
  auto* file = add_path_option(
      *command, "FILE", options->file,
      "Documents: JSON lines, objects with \"text\" (.jsonl, .ndjson, .json), or a text "
      "file, which is one; a directory of such files (default: JSON lines of standard input)");
  auto* lines_file =
      add_path_option(*command, "-f,--file", options->lines_file,
                      "The same; --json then gives a line a document, as of standard input, and "
                      "the sum goes to standard error")
          ->excludes(file);
  command->add_option("-p,--prompt", options->text, "One text, in place of files")
      ->excludes(file)
      ->excludes(lines_file);
  command
      ->add_option("--stride", options->options.stride,
                   "Tokens from the begin of one window to the next: fewer than "
                   "max_position_embeddings give each token more context (default: windows that "
                   "do not overlap)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30));
  command->add_flag("--json", options->json,
                    "One object: perplexity, negative_log_likelihood (mean), tokens (predicted), "
                    "documents; without FILE one for each document");
  command->callback([options] { run(*options); });
}

}  // namespace diffllama::cli
