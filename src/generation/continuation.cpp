#include <algorithm>
#include <optional>
#include <utility>

#include "config/generation_config.h"
#include "diffllama/error.h"
#include "diffllama/generation.h"
#include "generation/generated_text.h"
#include "generation/token_selector.h"

namespace diffllama {

struct [[gnu::visibility("hidden")]] Continuation::Impl {
  Impl(const GenerationConfig& config, std::vector<std::int64_t> prompt, const Tokenizer* tokenizer)
      : eos(config.ignore_eos ? std::vector<std::int64_t>() : config.eos_token_ids),
        selector(config, eos),
        constrained(config.constraint != nullptr),
        ids(std::move(prompt)),
        prompt_length(std::ssize(ids)),
        most(config.max_length ? *config.max_length - prompt_length : config.max_new_tokens) {
    if (tokenizer != nullptr) text.emplace(*tokenizer, config.stop_strings, ids);
    if (most <= 0) stop_reason = StopReason::length;
  }

  SelectionContext context() const {
    return {.ids = ids, .prompt_length = prompt_length, .stream = stream};
  }
  void refuse_ended() const {
    if (!stop_reason) return;
    throw InvalidArgument("[continuation] expected a sequence that goes on, got one that ended");
  }

  std::vector<std::int64_t> eos;
  TokenSelector selector;
  bool constrained;
  std::vector<std::int64_t> ids;
  std::int64_t prompt_length, most;
  std::uint64_t stream = 0;
  std::optional<GeneratedText> text;
  std::optional<StopReason> stop_reason;
};

Continuation::Continuation(const GenerationConfig& config, std::vector<std::int64_t> prompt,
                           const Tokenizer* tokenizer, std::uint64_t stream) {
  if (const std::string problem = find_problem(config); !problem.empty()) {
    throw InvalidArgument("[continuation] " + problem);
  }
  if (!config.stop_strings.empty() && tokenizer == nullptr) {
    throw InvalidArgument(
        "[continuation] stop_strings: expected a tokenizer to find them with, got none");
  }
  impl_ = std::make_unique<Impl>(config, std::move(prompt), tokenizer);
  impl_->stream = stream;
}

Continuation::~Continuation() = default;
Continuation::Continuation(Continuation&&) noexcept = default;
Continuation& Continuation::operator=(Continuation&&) noexcept = default;

Continuation::Token Continuation::next(std::span<float> logits) {
  impl_->refuse_ended();
  return push(impl_->selector.select(logits, impl_->context()));
}

void Continuation::adjust(std::span<float> logits) {
  TokenSelector::refuse_nan(logits, impl_->context());
  impl_->selector.adjust(logits, impl_->context());
}

void Continuation::warp(std::span<float> scores) {
  TokenSelector::refuse_nan(scores, impl_->context());
  impl_->selector.warp(scores, impl_->context());
}

std::int64_t Continuation::choose(std::span<const float> scores) {
  return impl_->selector.choose(scores, impl_->context());
}

Continuation::Token Continuation::push(std::int64_t id) {
  Impl& impl = *impl_;
  impl.refuse_ended();
  Token token{.id = id, .text = {}};
  impl.ids.push_back(token.id);
  const bool eos = std::ranges::find(impl.eos, token.id) != impl.eos.end();
  // The end of a constrained text is no part of it.
  if (impl.text && !(eos && impl.constrained)) token.text = impl.text->push(token.id);
  if (eos) {
    impl.stop_reason = StopReason::eos;
  } else if (impl.text && impl.text->stopped()) {
    impl.stop_reason = StopReason::stop_string;
  } else if (std::ssize(impl.ids) - impl.prompt_length >= impl.most) {
    impl.stop_reason = StopReason::length;
  }
  if (impl.stop_reason) token.text += finish();
  return token;
}

std::string Continuation::finish() {
  return impl_->text ? std::string(impl_->text->finish()) : std::string();
}

std::optional<StopReason> Continuation::stop_reason() const { return impl_->stop_reason; }
const std::vector<std::int64_t>& Continuation::ids() const { return impl_->ids; }

std::string Continuation::text() const { return impl_->text ? impl_->text->text() : std::string(); }

}  // namespace diffllama
