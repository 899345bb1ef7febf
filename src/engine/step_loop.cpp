#include "engine/step_loop.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <limits>
#include <new>
#include <string>
#include <utility>

#include "base/text.h"
#include "config/warnings.h"
#include "diffllama/error.h"
#include "engine/logprobs.h"
#include "engine/request_checks.h"

namespace diffllama {
namespace {

std::string size_text(std::int64_t tokens, std::int64_t blocks, std::size_t block_bytes) {
  return std::to_string(tokens) + " tokens (" +
         std::to_string(static_cast<std::size_t>(blocks) * block_bytes) + " bytes)";
}

// Calls take(item) for each and removes those for which it did not throw.
template <class Item, class Take>
void for_each_taken(std::vector<Item>& items, const Take& take) {
  auto next = items.begin();
  try {
    for (; next != items.end(); ++next) take(*next);
  } catch (...) {
    items.erase(items.begin(), next);
    throw;
  }
  items.clear();
}

// A row of what is [rows, width].
template <class T>
std::span<T> row_of(std::span<T> rows, std::int64_t row, std::int64_t width) {
  return rows.subspan(static_cast<std::size_t>(row * width), static_cast<std::size_t>(width));
}

}  // namespace

std::int64_t blocks_in(const DiffLlamaModel& stack, CacheType type, std::size_t bytes,
                       const DiffLlamaModel* assistant) {
  std::size_t block = stack.make_cache(type).layout().block;
  if (assistant != nullptr) block += assistant->make_cache(CacheType::automatic).layout().block;
  if (bytes < block) {
    throw InvalidArgument("[engine] memory_bytes: expected at least a block of " +
                          std::to_string(kCacheBlockKeys) + " tokens (" + std::to_string(block) +
                          " bytes), got " + std::to_string(bytes));
  }
  return static_cast<std::int64_t>(
      std::min<std::size_t>(bytes / block, std::numeric_limits<std::int32_t>::max()));
}

StepLoop::StepLoop(const ForwardModel& model, const Parallel& parallel,
                   const SchedulerOptions& options, const Tokenizer* tokenizer, WarningHandler warn,
                   const ForwardModel* assistant)
    : model_(model),
      tokenizer_(tokenizer),
      warn_(std::move(warn)),
      scheduler_(model, options),
      step_logits_(model, parallel) {
  if (assistant != nullptr) {
    drafter_.emplace(*assistant, parallel, model.config, options.max_blocks);
  }
  report();
}

RequestId StepLoop::add(Request request) {
  if (request.prompt_only) {  // the config says nothing then
    request.config = {};
    request.config.max_new_tokens = 1;
  }
  check_request(model_, request, tokenizer_);
  const std::int64_t length = std::ssize(request.ids);
  const std::int64_t max_length =
      request.config.max_length.value_or(length + request.config.max_new_tokens);
  std::vector<std::int64_t> eos = ending_tokens(model_.config, request.config);
  TokenSelector selector(request.config, eos);
  const auto active = std::make_shared<ActiveRequest>(ActiveRequest{.wanted = std::move(request),
                                                                    .eos_token_ids = std::move(eos),
                                                                    .selector = std::move(selector),
                                                                    .max_length = max_length});
  const GenerationConfig& config = active->wanted.config;
  if (config.num_beams > 1 && !active->wanted.prompt_only) {
    active->beams = std::make_unique<BeamSearch>(
        BeamSearch::Settings{.num_beams = config.num_beams,
                             .length_penalty = config.length_penalty,
                             .early_stopping = config.early_stopping,
                             .max_new_tokens = max_length - length,
                             .ending_tokens = std::ssize(active->eos_token_ids),
                             .samples = config.do_sample && config.temperature > 0,
                             .seed = config.seed});
  }
  if (active->places() > scheduler_.max_sequences()) {
    throw InvalidArgument(std::string("[engine] ") +
                          (active->beams ? "num_beams" : "guidance_scale") +
                          ": expected at most the " + std::to_string(scheduler_.max_sequences()) +
                          " sequences that run at once, got " + std::to_string(active->places()));
  }
  if (config.max_time) {
    active->deadline = std::chrono::steady_clock::now() + duration_of(*config.max_time);
  }
  if (drafter_ && !active->beams && !active->guided() && !config.prompt_lookup_num_tokens) {
    GenerationConfig drafting = config;
    drafting.logits_processors.clear();  // called for the tokens that come, and no others
    active->draft_selector.emplace(std::move(drafting), active->eos_token_ids);
  }
  const std::int64_t blocks = (active->max_keys() + kCacheBlockKeys - 1) / kCacheBlockKeys;
  if (blocks > scheduler_.max_blocks()) {
    throw InvalidArgument("[engine] request: expected a sequence that fits the memory of " +
                          size_text(scheduler_.max_blocks() * kCacheBlockKeys,
                                    scheduler_.max_blocks(), scheduler_.block_bytes()) +
                          ", got one of up to " +
                          size_text(active->max_keys(), blocks, scheduler_.block_bytes()));
  }
  auto sequence =
      std::make_unique<ActiveSequence>(ActiveSequence{.request = active,
                                                      .ids = active->wanted.ids,
                                                      .text = make_text(*active),
                                                      .cache = scheduler_.make_cache()});
  sequence->ids.reserve(static_cast<std::size_t>(
      std::min(max_length, length + kPreparedTokens)));  // no allocation while decoding
  return inbox_.add(std::move(sequence));
}

std::unique_ptr<GeneratedText> StepLoop::make_text(const ActiveRequest& request) const {
  const Request& wanted = request.wanted;
  if (tokenizer_ == nullptr || wanted.prompt_only) return nullptr;
  if (request.beams && !request.beams->done()) return nullptr;  // made when it is known
  if (!wanted.text && wanted.config.stop_strings.empty()) return nullptr;
  return std::make_unique<GeneratedText>(*tokenizer_, wanted.config.stop_strings, wanted.ids);
}

const StepEvents& StepLoop::step() {
  if (std::exchange(delivered_, false)) {
    events_.prompts.clear();
    events_.tokens.clear();
    events_.endings.clear();
    events_.refusals.clear();
  }
  try {
    take_in();
    scheduler_.remove_ended();
    scheduler_.plan();
    draft();
    run_model();
  } catch (...) {
    report();  // who has come is still there
    throw;
  }
  ++counters_.steps;
  scheduler_.remove_ended();
  report();
  delivered_ = true;
  return events_;
}

// What a lack of memory leaves is taken in by the next step.
void StepLoop::take_in() {
  inbox_.take(added_, cancelled_);
  for_each_taken(added_, [&](auto& sequence) { add_sequence(sequence); });
  for_each_taken(cancelled_, [&](RequestId id) { cancel_now(id); });
}

void StepLoop::cancel_now(RequestId id) {
  std::int64_t returned = 0;  // sequences that it would have become
  for (const auto* sequences : {&scheduler_.running(), &scheduler_.waiting()}) {
    for (const auto& sequence : *sequences) {
      if (sequence->request->id != id || sequence->ending) continue;
      const ActiveRequest& request = *sequence->request;
      if (sequence->negative) {
        sequence->ending = StopReason::cancelled;  // nobody was told of it
      } else if (request.beams || !request.prompt_done) {
        returned = request.wanted.config.num_return_sequences;
        sequence->ending = StopReason::cancelled;
      } else {
        end(*sequence, StopReason::cancelled);
      }
    }
  }
  for (std::int64_t number = 0; number < returned; ++number) {
    events_.endings.push_back({.request = id, .sequence = number, .reason = StopReason::cancelled});
  }
}

void StepLoop::run_model() {
  stepped_.clear();
  inputs_.clear();
  for (const auto& sequence : scheduler_.running()) {
    if (sequence->planned == 0) continue;
    warn_of_length(*sequence);
    const ActiveRequest& request = *sequence->request;
    const std::int64_t done = sequence->cache.length();
    const bool completes = sequence->planned >= sequence->pending();
    sequence->ids.insert(sequence->ids.end(), sequence->draft.begin(), sequence->draft.end());
    StepLogits::Sequence input{
        .cache = &sequence->cache,
        .ids = std::span(sequence->ids).first(static_cast<std::size_t>(done + sequence->planned)),
        .rotary_length = sequence->rotary_length(done),
        .rows = completes ? StepLogits::Rows::last : StepLogits::Rows::none,
        .logits = !request.wanted.prompt_only};
    if (!sequence->draft.empty()) input.rows = StepLogits::Rows::all;
    if (sequence->takes_prompt_rows()) {
      input.rows = StepLogits::Rows::all;
      input.logits = input.logits || request.wanted.prompt_logprobs.has_value();
    }
    stepped_.push_back(sequence.get());
    inputs_.push_back(input);
  }
  if (stepped_.empty()) return;
  const std::span<const StepLogits::Output> outputs = run_inputs();
  try {
    take_in();  // whoever was cancelled meanwhile gets no more tokens
  } catch (const std::bad_alloc&) {
    // What is left is taken in by the next step; this one's tokens are there.
  }
  for (std::size_t i = 0; i < stepped_.size(); ++i) {
    ActiveSequence& sequence = *stepped_[i];
    if (sequence.ending) continue;
    try {
      handle(sequence, outputs[i]);
    } catch (const std::exception& error) {
      refuse(sequence, printable(error.what()));
    } catch (...) {  // of a LogitsProcessor of the caller's
      refuse(sequence, "expected a std::exception or none, got another");
    }
  }
  advance_beams();
  scheduler_.remove_ended();  // beams that were given up, so that others have their places
  for (auto& sequence : forks_) scheduler_.add_fork(std::move(sequence));
  forks_.clear();
}

// The sequences hold their drafts meanwhile.
std::span<const StepLogits::Output> StepLoop::run_inputs() {
  const auto without_drafts = [&] {
    for (ActiveSequence* const sequence : stepped_) sequence->take_draft_off();
  };
  try {
    const std::span<const StepLogits::Output> outputs = step_logits_.run(inputs_);
    without_drafts();
    return outputs;
  } catch (...) {
    without_drafts();
    throw;
  }
}

void StepLoop::handle(ActiveSequence& sequence, const StepLogits::Output& output) {
  ActiveRequest& request = *sequence.request;
  if (!sequence.draft.empty()) {
    check_draft(sequence, output);
    return;
  }
  scheduler_.note_full_blocks(sequence);
  if (sequence.negative) {
    if (sequence.pending() == 0) guide(sequence, output.logits);
    return;
  }
  const std::int64_t first = sequence.cache.length() - sequence.planned;
  if (!request.prompt_done) {
    counters_.prompt_tokens += sequence.planned;
    take_prompt_rows(request, first, output);
  }
  if (sequence.pending() > 0) return;
  const auto last = [&](auto rows, std::int64_t width) {
    return row_of(rows, output.rows - 1, width);
  };
  const bool first_token = !request.prompt_done;
  if (first_token) finish_prompt(request, output);
  if (request.wanted.prompt_only) {
    end(sequence, StopReason::length);
    return;
  }
  const std::span<float> logits = last(output.logits, model_.config.vocab_size);
  if (request.beams) {
    score_beam(sequence, logits);
    return;
  }
  if (request.guided()) {
    guide(sequence, logits);
    return;
  }
  if (first_token) fork(sequence, logits);
  choose(sequence, logits);
}

// What the request wants of the prompt's rows [first, first + output.rows).
void StepLoop::take_prompt_rows(ActiveRequest& request, std::int64_t first,
                                const StepLogits::Output& output) {
  if (!request.wants_all_rows()) return;
  const Request& wanted = request.wanted;
  const std::int64_t width = model_.config.hidden_size;
  PromptResult& result = request.prompt;
  if (wanted.hidden_states == PromptStates::all && result.hidden_states.empty()) {
    result.hidden_states = Tensor(DType::float32, {request.prompt_length(), width});
  }
  for (std::int64_t i = 0; i < output.rows; ++i) {
    const std::int64_t token = first + i;
    if (token < request.prompt_rows) continue;  // taken before a preemption
    if (wanted.hidden_states == PromptStates::all) {
      std::ranges::copy(row_of(output.hidden, i, width),
                        result.hidden_states.f32().begin() + token * width);
    }
    if (wanted.prompt_logprobs && token + 1 < request.prompt_length()) {
      result.logprobs.push_back(token_logprobs(
          row_of<const float>(output.logits, i, model_.config.vocab_size),
          wanted.ids[static_cast<std::size_t>(token + 1)], *wanted.prompt_logprobs, candidates_));
    }
    request.prompt_rows = token + 1;
  }
}

void StepLoop::finish_prompt(ActiveRequest& request, const StepLogits::Output& output) {
  const std::int64_t width = model_.config.hidden_size;
  if (request.wanted.hidden_states == PromptStates::last) {
    request.prompt.hidden_states = Tensor(DType::float32, {1, width});
    std::ranges::copy(row_of(output.hidden, output.rows - 1, width),
                      request.prompt.hidden_states.f32().begin());
  }
  request.prompt.request = request.id;
  events_.prompts.push_back(std::move(request.prompt));
  request.prompt_done = true;
}

// The other sequences of the request begin where its prompt ends, each with a choice of its own
// from the same logits.
void StepLoop::fork(const ActiveSequence& sequence, std::span<const float> logits) {
  const std::int64_t count = sequence.request->wanted.config.num_return_sequences;
  for (std::int64_t number = 1; number < count; ++number) {
    std::unique_ptr<ActiveSequence> other = sequence.fork();
    other->number = number;
    other->text = make_text(*sequence.request);
    other->ids.reserve(sequence.ids.capacity());
    std::unique_ptr<ActiveSequence> partner = fork_partner(sequence, *other);
    own_logits_.assign(logits.begin(), logits.end());
    choose(*other, own_logits_);
    if (!other->ending) {
      forks_.push_back(std::move(other));
      if (partner) forks_.push_back(std::move(partner));
    }
  }
}

void StepLoop::choose(ActiveSequence& sequence, std::span<float> logits) {
  ActiveRequest& request = *sequence.request;
  const Request& wanted = request.wanted;
  NewToken token;
  token.request = request.id;
  token.sequence = sequence.number;
  const std::span<const float> own =
      sequence.partner == nullptr ? logits : std::span<float>(sequence.raw_logits);
  if (wanted.logits) token.logits.assign(own.begin(), own.end());
  if (wanted.logprobs) raw_logits_.assign(own.begin(), own.end());
  token.id =
      request.selector.select(logits, {.ids = sequence.ids,
                                       .prompt_length = request.prompt_length(),
                                       .stream = static_cast<std::uint64_t>(sequence.number)});
  if (wanted.logprobs) {
    token.logprobs = token_logprobs(raw_logits_, token.id, *wanted.logprobs, candidates_);
  }
  sequence.ids.push_back(token.id);
  if (sequence.partner != nullptr) sequence.partner->ids.push_back(token.id);
  if (sequence.text && request.has_text(token.id)) token.text += sequence.text->push(token.id);
  const std::optional<StopReason> reason = stop_reason(sequence, token.id);
  if (reason && sequence.text) token.text += sequence.text->finish();
  if (!wanted.text) token.text.clear();
  events_.tokens.push_back(std::move(token));
  ++counters_.new_tokens;
  if (reason) end(sequence, *reason);
}

std::optional<StopReason> StepLoop::stop_reason(const ActiveSequence& sequence,
                                                std::int64_t id) const {
  const ActiveRequest& request = *sequence.request;
  if (request.ends_with(id)) return StopReason::eos;
  if (sequence.text && sequence.text->stopped()) return StopReason::stop_string;
  if (sequence.length() >= request.max_length || request.late()) return StopReason::length;
  return std::nullopt;
}

void StepLoop::end(ActiveSequence& sequence, StopReason reason) {
  if (sequence.ending) return;
  events_.endings.push_back(
      {.request = sequence.request->id, .sequence = sequence.number, .reason = reason});
  sequence.ending = reason;
  if (sequence.partner != nullptr) sequence.partner->ending = reason;
}

// All sequences of the request are taken off; only the refusal tells of them.
void StepLoop::refuse(const ActiveSequence& sequence, const std::string& message) {
  const RequestId id = sequence.request->id;
  events_.refusals.push_back({.request = id, .message = message});
  for (const auto* sequences : {&scheduler_.running(), &scheduler_.waiting()}) {
    for (const auto& other : *sequences) {
      if (other->request->id == id) other->ending = StopReason::cancelled;
    }
  }
  std::erase_if(forks_, [&](const auto& other) { return other->request->id == id; });
}

void StepLoop::warn_of_length(const ActiveSequence& sequence) {
  const std::int64_t limit = model_.config.max_position_embeddings;
  if (sequence.length() <= limit || std::exchange(warned_of_length_, true)) return;
  emit_warning(warn_, "[generate] a sequence of " + std::to_string(sequence.length()) +
                          " tokens is longer than the model's max_position_embeddings " +
                          std::to_string(limit) + ": expect poor text");
}

void StepLoop::clear_prefix_cache() {
  scheduler_.clear_prefix_cache();
  report();
}

void StepLoop::report() {
  const CacheBlockPool& pool = scheduler_.pool();
  counters_.waiting = std::ssize(scheduler_.waiting()) + std::ssize(added_);
  counters_.running = std::ssize(scheduler_.running());
  counters_.blocks = pool.limit();
  counters_.blocks_used = pool.used();
  counters_.blocks_shared = pool.shared();
  counters_.blocks_kept = pool.kept();
  counters_.prefix_hit_tokens = scheduler_.prefix_hit_tokens();
  counters_.preemptions = scheduler_.preemptions();
  inbox_.report(counters_);
}

}  // namespace diffllama
