// models/diffllama-tiny on tests/data/documents.jsonl, tokenizer and model together, against
// transformers' perplexity (tests/golden/perplexity.json).

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include <nlohmann/json.hpp>

#include "diffllama/model.h"
#include "diffllama/tokenizer.h"
#include "parity/golden_files.h"

namespace diffllama::parity {
namespace {

TEST(PerplexityTest, MatchesTransformers) {
  std::ifstream golden_file(source_dir() / "tests/golden/perplexity.json");
  const auto golden =
      nlohmann::json::parse(golden_file).at("files").at("tests/data/documents.jsonl");
  const auto directory = source_dir() / "models/diffllama-tiny";
  LoadOptions options;
  options.compute = ComputeType::float32;
  const Model model = Model::from_pretrained(directory, options);
  const Tokenizer tokenizer = Tokenizer::from_pretrained(directory);
  const auto window = static_cast<std::size_t>(model.config().max_position_embeddings);

  double total = 0;
  std::int64_t count = 0;
  std::ifstream documents(source_dir() / "tests/data/documents.jsonl");
  for (std::string line; std::getline(documents, line);) {
    const std::string text = nlohmann::json::parse(line).at("text");
    const std::vector<std::int64_t> ids = tokenizer.encode(text).ids;
    for (std::size_t begin = 0; begin < ids.size(); begin += window) {
      const auto piece = std::span(ids).subspan(begin, std::min(window, ids.size() - begin));
      const auto length = static_cast<std::int64_t>(piece.size());
      if (length < 2) continue;
      ForwardInputs inputs;
      inputs.input_ids = Tensor::from(piece, {1, length});
      inputs.labels = inputs.input_ids;
      total += static_cast<double>(*model.forward(inputs).loss) * static_cast<double>(length - 1);
      count += length - 1;
    }
  }
  EXPECT_EQ(count, golden.at("tokens").get<std::int64_t>());
  const double perplexity = std::exp(total / static_cast<double>(count));
  // 20 of mean loss' float32 spacings, 5e-7 at 3.5; the perplexity is 34 times the loss' error.
  EXPECT_NEAR(perplexity, golden.at("perplexity").get<double>(), 3.5e-4);
}

}  // namespace
}  // namespace diffllama::parity
