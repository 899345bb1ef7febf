#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "diffllama/chat.h"
#include "diffllama/generation.h"
#include "diffllama/model.h"
#include "diffllama/tokenizer.h"

namespace diffllama::cli {

/// What an answer cost.
struct TurnStats {
  std::int64_t prompt_tokens = 0;  // of the whole conversation
  std::int64_t cached_tokens = 0;  // of these, those that were in the cache
  std::int64_t new_tokens = 0;
  double prompt_seconds = 0;
  double new_seconds = 0;
};

enum class TurnEnd { end_of_turn, length, cancelled };

/// A conversation with a model, and the model's cache of it: only what is new of the rendered
/// conversation goes through the model, with the bits that all of it would give.
class ChatSession {
 public:
  /// All are used as long as it lives. `end_ids` end an answer.
  ChatSession(const Model& model, const Tokenizer& tokenizer, const ChatTemplate& chat_template,
              GenerationConfig config, std::vector<std::int64_t> end_ids);

  std::vector<ChatMessage>& messages() { return messages_; }
  const std::vector<ChatMessage>& messages() const { return messages_; }

  /// Lets the model answer the messages, and adds the answer to them unless it is empty. Text goes
  /// to `on_text` as it comes. Ends early, with what is there, once `cancel` is true. Throws Error;
  /// then nothing is added.
  TurnEnd answer(const std::function<void(const std::string&)>& on_text,
                 const std::atomic<bool>& cancel);
  /// The next answers are drawn anew, where they are drawn at all: as with another seed.
  void next_draw() { ++draw_; }
  const TurnStats& stats() const { return stats_; }

 private:
  std::vector<float> run(const std::vector<std::int64_t>& ids);

  const Model& model_;
  const Tokenizer& tokenizer_;
  const ChatTemplate& template_;
  GenerationConfig config_;
  std::vector<ChatMessage> messages_;
  KVCache cache_;
  std::vector<std::int64_t> cached_;  // the ids that the cache holds
  TurnStats stats_;
  std::uint64_t draw_ = 0;
};

}  // namespace diffllama::cli
