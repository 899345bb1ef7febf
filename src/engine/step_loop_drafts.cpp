// Speculation in the step loop: tokens that are guessed to come next go through the model with the
// one before them. Each is then chosen as if it had been alone, from logits whose bits do not
// depend on what stands beside them, and the first that is not as guessed is the last of the step.
#include <algorithm>
#include <vector>

#include "engine/step_loop.h"

namespace diffllama {

// Guesses for the sequences whose next token is planned, as far as the step has room.
void StepLoop::draft() {
  guessed_.clear();
  guesses_.clear();
  for (const auto& sequence : scheduler_.running()) {
    sequence->draft.clear();
    const std::int64_t most = most_guesses(*sequence);
    if (most == 0) continue;
    const GenerationConfig& config = sequence->request->wanted.config;
    const std::int64_t count = sequence->draft_length.next(most);
    if (count == 0) continue;
    if (config.prompt_lookup_num_tokens) {
      look_up(sequence->ids, config.max_matching_ngram_size, count, sequence->draft);
    } else {
      guessed_.push_back(sequence.get());
      guesses_.push_back(count);
    }
  }
  if (drafter_) drafter_->run(guessed_, guesses_, scheduler_.max_step_tokens());
  for (const auto& sequence : scheduler_.running()) {
    if (sequence->draft.empty()) continue;
    const std::int64_t count = scheduler_.plan_draft(*sequence, std::ssize(sequence->draft));
    sequence->draft.resize(static_cast<std::size_t>(count));
    if (count == 0) continue;
    const std::size_t needed = sequence->ids.size() + sequence->draft.size();
    if (needed > sequence->ids.capacity()) sequence->ids.reserve(2 * needed);
    scheduler_.add_draft(*sequence, count);
  }
}

// None behind the last token that the request may have.
std::int64_t StepLoop::most_guesses(const ActiveSequence& sequence) const {
  const ActiveRequest& request = *sequence.request;
  if (sequence.planned != 1 || sequence.pending() != 1 || !request.prompt_done) return 0;
  if (request.beams || request.guided()) return 0;
  const GenerationConfig& config = request.wanted.config;
  const std::int64_t most = config.prompt_lookup_num_tokens.value_or(
      request.draft_selector ? config.num_assistant_tokens : 0);
  const std::int64_t left = request.max_length - sequence.length() - 1;
  return scheduler_.plan_draft(sequence, std::min(most, left));
}

void StepLoop::check_draft(ActiveSequence& sequence, const StepLogits::Output& output) {
  const auto width = static_cast<std::size_t>(model_.config.vocab_size);
  const std::int64_t guesses = std::ssize(sequence.draft);
  const std::int64_t before = sequence.length();
  std::int64_t accepted = 0;
  for (std::int64_t row = 0; row <= guesses; ++row) {
    choose(sequence, output.logits.subspan(static_cast<std::size_t>(row) * width, width));
    if (sequence.ending || row == guesses) break;
    if (sequence.ids.back() != sequence.draft[static_cast<std::size_t>(row)]) break;
    ++accepted;
  }
  counters_.drafted_tokens += guesses;
  counters_.accepted_tokens += accepted;
  sequence.draft_length.update(guesses, accepted);
  const std::int64_t known = before + accepted;  // tokens whose keys are right
  sequence.cache.truncate(known, known);
  if (sequence.draft_cache) {
    const std::int64_t kept = std::min(sequence.draft_cache->length(), known);
    sequence.draft_cache->truncate(kept, kept);
  }
  scheduler_.note_full_blocks(sequence);
}

}  // namespace diffllama
