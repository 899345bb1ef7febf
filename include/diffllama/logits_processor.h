#pragma once

#include <cstdint>
#include <span>

namespace [[gnu::visibility("default")]] diffllama {

/// Changes the scores that a token is chosen from. Derive from it to add a rule of your own
/// (GenerationConfig::logits_processors).
class LogitsProcessor {
 public:
  virtual ~LogitsProcessor() = default;

  /// `ids` are the sequence's tokens so far, those of its prompt first; `scores` [V] are the
  /// logits after the built-in processors and before sampling's (temperature, top_k, ...), to be
  /// changed in place. Minus infinity rules a token out; NaN is an error. Called by the thread that
  /// generates, once for each token of each sequence; what it does should follow from its arguments
  /// alone, or a sequence's tokens will depend on the others'.
  virtual void process(std::span<const std::int64_t> ids, std::span<float> scores) = 0;
};

}  // namespace diffllama
