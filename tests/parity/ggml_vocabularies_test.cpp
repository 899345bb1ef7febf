// llama.cpp's own vocabulary tests: a GGUF file of each kind, texts, and the ids that each must
// get. The files (110 MB) are not in the repository; tools/fetch_ggml_vocabularies.sh fetches them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "diffllama/tokenizer.h"
#include "parity/golden_files.h"

namespace diffllama::parity {
namespace {

namespace fs = std::filesystem;

class GgmlVocabulary : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const char* given = std::getenv("DIFFLLAMA_GGML_VOCABULARIES");
    const fs::path folder = given != nullptr ? fs::path(given) : source_dir() / "models/ggml-vocab";
    path_ = folder / ("ggml-vocab-" + std::string(GetParam()) + ".gguf");
    if (!fs::exists(path_)) {
      GTEST_SKIP() << path_ << " is not there; tools/fetch_ggml_vocabularies.sh fetches it, or "
                   << "$DIFFLLAMA_GGML_VOCABULARIES says in which folder it is";
    }
  }
  std::string beside(const char* ending) const {
    std::ifstream file(path_.string() + ending, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::vector<std::string> texts() const {
    const std::string all = beside(".inp");
    const std::string between = "\n__ggml_vocab_test__\n";
    std::vector<std::string> list;
    std::size_t begin = 0;
    for (std::size_t end = 0; (end = all.find(between, begin)) != std::string::npos;
         begin = end + between.size()) {
      list.push_back(all.substr(begin, end - begin));
    }
    if (begin < all.size()) list.push_back(all.substr(begin));
    return list;
  }

  fs::path path_;
};

TEST_P(GgmlVocabulary, GivesEveryTextItsIds) {
  const Tokenizer tokenizer = Tokenizer::from_pretrained(path_, [](const std::string&) {});
  const std::vector<std::string> list = texts();
  ASSERT_GT(list.size(), 40U);
  std::istringstream lines(beside(".out"));
  for (const std::string& text : list) {
    std::string line;
    ASSERT_TRUE(std::getline(lines, line)) << "fewer lines than texts";
    std::istringstream numbers(line);
    const std::vector<std::int64_t> ids(std::istream_iterator<std::int64_t>(numbers), {});
    EXPECT_EQ(tokenizer.encode(text, false).ids, ids) << '"' << text << '"';
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, GgmlVocabulary,
                         testing::Values("gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2",
                                         "qwen35", "falcon", "starcoder", "refact", "mpt",
                                         "command-r", "deepseek-llm", "deepseek-coder"),
                         [](const auto& kind) {
                           std::string name = kind.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace diffllama::parity
