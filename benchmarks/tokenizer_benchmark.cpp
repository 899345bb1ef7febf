// tokenizer_benchmark TOKENIZER CORPUS.jsonl THREADS: seconds to encode all texts, and their tokens
// together; for time_tokenizers.py.
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "diffllama/tokenizer.h"

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: tokenizer_benchmark TOKENIZER CORPUS.jsonl THREADS\n";
    return 2;
  }
  const auto tokenizer = diffllama::Tokenizer::from_pretrained(argv[1]);
  std::vector<std::string> texts;
  std::ifstream corpus(argv[2]);
  for (std::string line; std::getline(corpus, line);) {
    texts.push_back(nlohmann::json::parse(line).at("text").get<std::string>());
  }
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  const int threads = std::atoi(argv[3]);
  const auto start = std::chrono::steady_clock::now();
  std::size_t tokens = 0;
  if (threads == 1) {
    for (const std::string_view text : views) tokens += tokenizer.encode(text).ids.size();
  } else {
    for (const auto& encoding : tokenizer.encode_batch(views, {}, threads)) {
      tokens += encoding.ids.size();
    }
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::cout << seconds.count() << ' ' << tokens << '\n';
  return 0;
}
