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
        ids(std::move(prompt)),
        prompt_length(std::ssize(ids)),
        most(config.max_length ? *config.max_length - prompt_length : config.max_new_tokens) {
    if (tokenizer != nullptr) text.emplace(*tokenizer, config.stop_strings, ids);
    if (most <= 0) stop_reason = StopReason::length;
  }

  std::vector<std::int64_t> eos;
  TokenSelector selector;
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
  Impl& impl = *impl_;
  if (impl.stop_reason) {
    throw InvalidArgument("[continuation] expected a sequence that goes on, got one that ended");
  }
  Token token;
  token.id = impl.selector.select(
      logits, {.ids = impl.ids, .prompt_length = impl.prompt_length, .stream = impl.stream});
  impl.ids.push_back(token.id);
  const bool eos = std::ranges::find(impl.eos, token.id) != impl.eos.end();
  if (impl.text) token.text = impl.text->push(token.id);
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
