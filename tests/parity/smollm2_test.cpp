// A real Llama: SmolLM2-135M-Instruct in 4 bits must choose the tokens that transformers chooses
// for the same file in float32. The file (98 MB) is not in the repository; tools/fetch_smollm2.sh
// fetches it.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include <nlohmann/json.hpp>

#include "diffllama/model.h"
#include "diffllama/tokenizer.h"
#include "parity/golden_files.h"

namespace diffllama::parity {
namespace {

class SmolLM2Test : public testing::Test {
 protected:
  void SetUp() override {
    std::ifstream file(source_dir() / "tests/golden/smollm2.json");
    golden_ = nlohmann::json::parse(file);
    const char* given = std::getenv("DIFFLLAMA_SMOLLM2");
    path_ = given != nullptr ? std::filesystem::path(given)
                             : source_dir() / "models" / golden_.at("file").get<std::string>();
    if (!std::filesystem::exists(path_)) {
      GTEST_SKIP() << path_ << " is not there; tools/fetch_smollm2.sh fetches it, or "
                   << "$DIFFLLAMA_SMOLLM2 says where it is";
    }
  }

  nlohmann::json golden_;
  std::filesystem::path path_;
};

TEST_F(SmolLM2Test, TokenizesAsTransformersDoes) {
  const Tokenizer tokenizer = Tokenizer::from_pretrained(path_);
  for (const auto& sequence : golden_.at("sequences")) {
    const std::vector<std::int64_t> ids = sequence.at("ids");
    EXPECT_EQ(tokenizer.decode(ids, true), sequence.at("text").get<std::string>())
        << sequence.at("name");
    if (!sequence.contains("prompt")) continue;
    EXPECT_EQ(tokenizer.encode(sequence.at("prompt").get<std::string>()).ids,
              sequence.at("prompt_ids").get<std::vector<std::int64_t>>())
        << sequence.at("name");
  }
}

// One forward over the prompt and transformers' continuation: greedy choice is right at every step
// iff the largest logit of each row is the token that follows.
TEST_F(SmolLM2Test, ChoosesTheTokensThatTransformersChooses) {
  LoadOptions options;
  options.compute = ComputeType::float32;
  const Model model = Model::from_pretrained(path_, options);
  for (const auto& sequence : golden_.at("sequences")) {
    auto ids = sequence.at("prompt_ids").get<std::vector<std::int64_t>>();
    const auto expected = sequence.at("ids").get<std::vector<std::int64_t>>();
    ids.insert(ids.end(), expected.begin(), expected.end());
    ForwardInputs inputs;
    inputs.input_ids = Tensor::from(std::span<const std::int64_t>(ids),
                                    {1, static_cast<std::int64_t>(ids.size())});
    inputs.logits_to_keep = static_cast<std::int64_t>(expected.size()) + 1;
    const Tensor logits = std::move(*model.forward(inputs).logits);
    const auto vocabulary = static_cast<std::size_t>(logits.shape().at(2));
    std::vector<std::int64_t> chosen;
    for (std::size_t row = 0; row < expected.size(); ++row) {
      const auto scores = logits.f32().subspan(row * vocabulary, vocabulary);
      chosen.push_back(std::max_element(scores.begin(), scores.end()) - scores.begin());
    }
    EXPECT_EQ(chosen, expected) << sequence.at("name");
  }
}

}  // namespace
}  // namespace diffllama::parity
