#include "training/data/example_source.h"

#include <string>

#include "diffllama/error.h"

namespace diffllama {

void ExampleSource::check_examples(std::span<const std::int64_t> examples) const {
  if (examples.empty()) throw InvalidArgument("[collate] expected examples, got none");
  for (const std::int64_t example : examples) {
    if (example < 0 || example >= size()) {
      throw InvalidArgument("[collate] expected examples of 0.." + std::to_string(size() - 1) +
                            ", got " + std::to_string(example));
    }
  }
}

}  // namespace diffllama
