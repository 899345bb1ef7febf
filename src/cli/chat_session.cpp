#include "cli/chat_session.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "diffllama/error.h"

namespace diffllama::cli {
namespace {

using Clock = std::chrono::steady_clock;

// So that cancel is looked at while a long prompt is read.
constexpr std::size_t kPromptPiece = 512;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

ChatSession::ChatSession(const Model& model, const Tokenizer& tokenizer,
                         const ChatTemplate& chat_template, GenerationConfig config,
                         std::vector<std::int64_t> end_ids)
    : model_(model),
      tokenizer_(tokenizer),
      template_(chat_template),
      config_(std::move(config)),
      cache_(model.make_cache(1)) {
  config_.eos_token_ids = std::move(end_ids);
}

// Logits of the last of `ids`, all of which the cache holds afterwards.
std::vector<float> ChatSession::run(const std::vector<std::int64_t>& ids) {
  ForwardInputs inputs;
  inputs.input_ids =
      Tensor::from(std::span<const std::int64_t>(ids), {1, static_cast<std::int64_t>(ids.size())});
  inputs.logits_to_keep = 1;
  // A forward that fails half way leaves a cache that nobody knows.
  const std::vector<std::int64_t> before = std::exchange(cached_, {});
  const ForwardOutput output = model_.forward(inputs, &cache_);
  cached_ = before;
  cached_.insert(cached_.end(), ids.begin(), ids.end());
  const std::span<const float> logits = output.logits->f32();
  return {logits.begin(), logits.end()};
}

TurnEnd ChatSession::answer(const std::function<void(const std::string&)>& on_text,
                            const std::atomic<bool>& cancel) {
  std::vector<std::int64_t> ids = encode_chat(tokenizer_, template_.apply(messages_));
  if (ids.empty()) throw InvalidArgument("chat: expected a conversation with text, got none");
  const std::size_t prompt = ids.size();
  // The last token goes through the model anew: its logits are needed.
  std::size_t common = 0;
  while (common < cached_.size() && common + 1 < prompt && cached_[common] == ids[common]) ++common;
  cache_.crop(static_cast<std::int64_t>(common));
  cached_.resize(common);
  stats_ = {.prompt_tokens = static_cast<std::int64_t>(prompt),
            .cached_tokens = static_cast<std::int64_t>(common)};

  auto start = Clock::now();
  std::vector<float> logits;
  for (std::size_t at = common; at < prompt && !cancel;) {
    const std::size_t end = std::min(prompt, at + kPromptPiece);
    logits = run({ids.begin() + static_cast<std::ptrdiff_t>(at),
                  ids.begin() + static_cast<std::ptrdiff_t>(end)});
    at = end;
  }
  stats_.prompt_seconds = seconds_since(start);

  start = Clock::now();
  Continuation answer(config_, ids, &tokenizer_, draw_);
  const auto say = [&](const std::string& piece) {
    if (!piece.empty()) on_text(piece);
  };
  while (!answer.stop_reason() && !cancel) {
    const Continuation::Token token = answer.next(logits);
    ++stats_.new_tokens;
    say(token.text);
    if (!answer.stop_reason()) logits = run({token.id});
  }
  if (!answer.stop_reason()) say(answer.finish());
  stats_.new_seconds = seconds_since(start);
  if (const std::string text = answer.text(); !text.empty()) {
    messages_.push_back({"assistant", text});
  }
  if (!answer.stop_reason()) return TurnEnd::cancelled;
  return answer.stop_reason() == StopReason::length ? TurnEnd::length : TurnEnd::end_of_turn;
}

}  // namespace diffllama::cli
