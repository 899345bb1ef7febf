#include <cstdint>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/regular_file.h"
#include "base/text.h"
#include "cli/common.h"
#include "diffllama/error.h"
#include "diffllama/tokenizer.h"

namespace diffllama::cli {
namespace {

struct TokenizeOptions {
  ModelOptions model;
  bool json = false;
  bool no_special = false;
  bool offsets = false;
  bool full = false;
  std::optional<std::string> pair;
  bool decode = false;
  bool skip_special = false;
};

std::vector<std::int64_t> read_ids(const std::string& text) {
  JsonLimits limits;
  limits.extra_bytes = std::size_t{1} << 32;  // our own user's list
  const nlohmann::json list = parse_json(text, "stdin", limits);
  std::vector<std::int64_t> ids;
  if (list.is_array()) {
    for (const nlohmann::json& id : list) {
      if (!id.is_number_integer()) break;
      ids.push_back(id.get<std::int64_t>());
    }
  }
  if (!list.is_array() || ids.size() != list.size()) {
    throw InvalidArgument("stdin: expected a JSON list of token ids, got " + json_excerpt(list));
  }
  return ids;
}

void print_json(const Encoding& encoding, bool offsets) {
  std::cout << "{\"ids\": [";
  for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
    std::cout << (i > 0 ? ", " : "") << encoding.ids[i];
  }
  std::cout << ']';
  if (offsets) {
    std::cout << ", \"offsets\": [";
    for (std::size_t i = 0; i < encoding.offsets.size(); ++i) {
      std::cout << (i > 0 ? ", " : "") << '[' << encoding.offsets[i].begin << ", "
                << encoding.offsets[i].end << ']';
    }
    std::cout << ']';
  }
  std::cout << "}\n";
}

void print_full(const Encoding& encoding) {
  nlohmann::ordered_json offsets = nlohmann::json::array();
  for (const TokenOffset& offset : encoding.offsets) offsets.push_back({offset.begin, offset.end});
  const nlohmann::ordered_json all = {{"ids", encoding.ids},
                                      {"offsets", std::move(offsets)},
                                      {"word_ids", encoding.word_ids},
                                      {"type_ids", encoding.type_ids},
                                      {"sequence_ids", encoding.sequence_ids},
                                      {"special_tokens_mask", encoding.special_tokens_mask},
                                      {"attention_mask", encoding.attention_mask}};
  std::cout << all.dump() << '\n';
}

void print_lines(const Tokenizer& tokenizer, const Encoding& encoding, bool offsets) {
  for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
    std::cout << encoding.ids[i];
    if (offsets) {
      std::cout << '\t' << encoding.offsets[i].begin << '-' << encoding.offsets[i].end;
    }
    // As a JSON string, so that a token is always one line.
    const nlohmann::json token = tokenizer.id_to_token(encoding.ids[i]);
    const auto text = [&](bool ascii) {
      return token.dump(-1, ' ', ascii, nlohmann::json::error_handler_t::replace);
    };
    // JSON escapes what acts on a terminal up to U+001F alone.
    const std::string shown = text(false);
    std::cout << '\t' << (printable(shown) == shown ? shown : text(true)) << '\n';
  }
}

void run(const TokenizeOptions& options) {
  const Tokenizer tokenizer = Tokenizer::from_pretrained(model_path(options.model));
  const std::string input = read_standard_input();
  if (options.decode) {
    std::cout << tokenizer.decode(read_ids(input), options.skip_special);
  } else {
    const EncodeOptions how{!options.no_special, /*truncate_and_pad=*/true};
    const Encoding encoding = options.pair ? tokenizer.encode_pair(input, *options.pair, how)
                                           : tokenizer.encode(input, how);
    if (options.full) {
      print_full(encoding);
    } else if (options.json) {
      print_json(encoding, options.offsets);
    } else {
      print_lines(tokenizer, encoding, options.offsets);
    }
  }
}

}  // namespace

void add_tokenize_command(CLI::App& app) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = app.add_subcommand(
      "tokenize", "Turn the text on stdin into token ids, or ids into text with --decode");
  add_model_option(*command, options->model);
  auto* decode = command->add_flag("--decode", options->decode,
                                   "Read a JSON list of ids and print exactly its text");
  command->add_flag("--skip-special", options->skip_special, "Leave special tokens out of the text")
      ->needs(decode);
  command->add_flag("--json", options->json, "Print {\"ids\": [...]} instead of a line a token")
      ->excludes(decode);
  command
      ->add_flag("--no-special", options->no_special,
                 "Add no special tokens; those in the text still match")
      ->excludes(decode);
  command->add_flag("--offsets", options->offsets, "Print each token's bytes [begin, end) too")
      ->excludes(decode);
  command
      ->add_flag("--full", options->full,
                 "Print a JSON object with ids, offsets, word_ids, type_ids, sequence_ids, "
                 "special_tokens_mask and attention_mask; -1 is none")
      ->excludes(decode);
  command->add_option("--pair", options->pair, "A second text, which makes a pair with stdin's")
      ->excludes(decode);
  command->callback([options] { run(*options); });
}

}  // namespace diffllama::cli
