// Guidance in the step loop: beside each sequence of a request runs another one, of the negative
// prompt and the same new tokens. Each gets its log-probabilities when its last token went through
// the model; with the second of them the token is chosen.
#include <memory>
#include <utility>

#include "engine/step_loop.h"

namespace diffllama {

// Leaves `sequence` where it is when there is no memory for it.
void StepLoop::add_sequence(std::unique_ptr<ActiveSequence>& sequence) {
  const std::shared_ptr<ActiveRequest>& request = sequence->request;
  scheduler_.make_room(2);
  if (request->guided()) {
    std::vector<std::int64_t> ids = request->wanted.config.negative_prompt_ids;
    if (ids.empty()) ids = {sequence->ids.back()};
    auto negative =
        std::make_unique<ActiveSequence>(ActiveSequence{.request = request,
                                                        .ids = std::move(ids),
                                                        .text = nullptr,
                                                        .cache = scheduler_.make_cache(),
                                                        .partner = sequence.get(),
                                                        .negative = true});
    sequence->partner = negative.get();
    scheduler_.add(std::move(negative));
  }
  scheduler_.add(std::move(sequence));
}

void StepLoop::guide(ActiveSequence& sequence, std::span<const float> logits) {
  const Request& wanted = sequence.request->wanted;
  if (!sequence.negative && (wanted.logits || wanted.logprobs)) {
    sequence.raw_logits.assign(logits.begin(), logits.end());
  }
  sequence.scores.assign(logits.begin(), logits.end());
  renormalize(sequence.scores);
  sequence.scored = true;
  ActiveSequence& partner = *sequence.partner;
  if (!partner.scored) return;
  ActiveSequence& positive = sequence.negative ? partner : sequence;
  const ActiveSequence& negative = *positive.partner;
  const auto scale = static_cast<float>(wanted.config.guidance_scale);
  for (std::size_t i = 0; i < positive.scores.size(); ++i) {
    const float other = negative.scores[i];
    positive.scores[i] = scale * (positive.scores[i] - other) + other;
  }
  sequence.scored = partner.scored = false;
  if (positive.length() == positive.request->prompt_length()) fork(positive, positive.scores);
  choose(positive, positive.scores);
}

// The negative side of a sequence that forks from `sequence`.
std::unique_ptr<ActiveSequence> StepLoop::fork_partner(const ActiveSequence& sequence,
                                                       ActiveSequence& other) {
  if (sequence.partner == nullptr) return nullptr;
  std::unique_ptr<ActiveSequence> partner = sequence.partner->fork();
  partner->number = other.number;
  partner->partner = &other;
  partner->negative = true;
  other.partner = partner.get();
  other.raw_logits = sequence.raw_logits;
  return partner;
}

}  // namespace diffllama
