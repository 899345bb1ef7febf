// Loads a model, looks at the logits of a prompt, and lets the model continue it, at once and as it
// comes.
//   hello MODEL PROMPT
#include <diffllama/engine.h>
#include <diffllama/error.h>
#include <diffllama/generation.h>
#include <diffllama/model.h>
#include <diffllama/tokenizer.h>

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <iterator>
#include <utility>
#include <vector>

namespace {

void run(const char* path, const char* prompt) {
  const auto model = diffllama::Model::from_pretrained(path);
  const auto tokenizer = diffllama::Tokenizer::from_pretrained(path);
  const std::vector<std::int64_t> ids = tokenizer.encode(prompt).ids;

  diffllama::ForwardInputs inputs;
  inputs.input_ids =
      diffllama::Tensor::from(ids, {1, static_cast<std::int64_t>(ids.size())});  // [B, T]
  inputs.logits_to_keep = 1;
  const diffllama::ForwardOutput output = model.forward(inputs);
  const auto logits = output.logits->f32();  // [B, 1, V]
  const auto best = std::distance(logits.begin(), std::ranges::max_element(logits));
  std::cout << "next: " << tokenizer.decode(std::vector<std::int64_t>{best}) << "\n";

  diffllama::GenerationConfig options;
  options.max_new_tokens = 8;
  const std::vector<std::vector<std::int64_t>> prompts{ids};
  for (const auto& sequence : diffllama::generate(model, prompts, options, &tokenizer)) {
    std::cout << "text: " << prompt << sequence.text << "\n";
  }

  diffllama::Engine engine(model, {}, &tokenizer);
  diffllama::Request request;
  request.ids = ids;
  request.config = options;
  engine.add(std::move(request));  // at any time, from any thread
  std::cout << "stream: " << prompt;
  while (engine.has_work()) {
    const diffllama::StepEvents& events = engine.step();
    for (const diffllama::NewToken& token : events.tokens) std::cout << token.text;
  }
  std::cout << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: hello MODEL PROMPT\n";
    return 2;
  }
  try {
    run(argv[1], argv[2]);
  } catch (const diffllama::Error& error) {
    std::cerr << "hello: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
