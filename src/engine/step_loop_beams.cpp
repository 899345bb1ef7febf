// Beam search in the step loop: the running beams of a request are sequences of the scheduler that
// share blocks. Each gets its scores when its last token went through the model, in whatever step
// that is; with the last of them BeamSearch says how they go on.
#include <exception>
#include <limits>
#include <memory>
#include <utility>

#include "engine/logprobs.h"
#include "engine/step_loop.h"

namespace diffllama {

void StepLoop::score_beam(ActiveSequence& sequence, std::span<const float> logits) {
  ActiveRequest& request = *sequence.request;
  const Request& wanted = request.wanted;
  if (wanted.logits || wanted.logprobs) sequence.raw_logits.assign(logits.begin(), logits.end());
  sequence.scores.assign(logits.begin(), logits.end());
  request.selector.score_beam(sequence.scores,
                              {.ids = sequence.ids,
                               .prompt_length = request.prompt_length(),
                               .stream = static_cast<std::uint64_t>(sequence.number)});
  sequence.scored = true;
  ++request.scored_beams;
}

// Those whose beams all have their scores, each once.
void StepLoop::advance_beams() {
  for (ActiveSequence* const sequence : stepped_) {
    const std::shared_ptr<ActiveRequest> request = sequence->request;
    if (sequence->ending || !request->beams || request->beams->done()) continue;
    if (request->scored_beams < std::ssize(request->beams->running())) continue;
    try {
      advance(*request);
    } catch (const std::exception& error) {
      refuse(*sequence, error.what());
    }
  }
}

void StepLoop::advance(ActiveRequest& request) {
  find_beams(request);
  beam_scores_.clear();
  for (const ActiveSequence* const beam : beams_) beam_scores_.emplace_back(beam->scores);
  const bool late = request.late();
  request.beams->step(beam_scores_, [&](std::int64_t beam, std::int64_t id) {
    return late || ends_beam(request, *beams_[static_cast<std::size_t>(beam)], id);
  });
  request.scored_beams = 0;
  note_beam_tokens(request);
  if (request.beams->done()) {
    hand_out_beams(request);
    for (ActiveSequence* const beam : beams_) beam->ending = StopReason::length;
  } else {
    continue_beams(request);
  }
}

void StepLoop::find_beams(const ActiveRequest& request) {
  beams_.assign(request.beams->running().size(), nullptr);
  for (const auto* sequences : {&scheduler_.running(), &scheduler_.waiting()}) {
    for (const auto& sequence : *sequences) {
      if (sequence->request.get() != &request || sequence->ending) continue;
      beams_[static_cast<std::size_t>(sequence->number)] = sequence.get();
    }
  }
}

// Stop strings are looked for in the text of the last tokens: a token has at least one byte.
bool StepLoop::ends_beam(const ActiveRequest& request, const ActiveSequence& beam,
                         std::int64_t id) const {
  if (request.ends_with(id)) return true;
  const std::vector<std::string>& stop_strings = request.wanted.config.stop_strings;
  if (stop_strings.empty()) return false;
  GeneratedText text(*tokenizer_, stop_strings, beam.ids);
  text.push(id);
  return text.stopped();
}

void StepLoop::note_beam_tokens(ActiveRequest& request) {
  const Request& wanted = request.wanted;
  if (!wanted.logits && !wanted.logprobs) return;
  for (std::int64_t i = std::ssize(request.beam_tokens); i < request.beams->nodes(); ++i) {
    const BeamSearch::Node& node = request.beams->node(i);
    const std::vector<float>& logits = beams_[static_cast<std::size_t>(node.beam)]->raw_logits;
    NewToken& token = request.beam_tokens.emplace_back();
    if (wanted.logits) token.logits = logits;
    if (wanted.logprobs) {
      token.logprobs = token_logprobs(logits, node.id, *wanted.logprobs, candidates_);
    }
  }
}

// The first beam that continues another takes its place, the others fork from it.
void StepLoop::continue_beams(ActiveRequest& request) {
  const std::vector<BeamSearch::Beam>& next = request.beams->running();
  const auto go_on = [&](ActiveSequence& sequence, std::size_t number) {
    sequence.number = static_cast<std::int64_t>(number);
    sequence.ids.push_back(request.beams->node(next[number].node).id);
    sequence.scored = false;
  };
  std::vector<std::size_t> heirs(beams_.size(), next.size());  // by the beam that they continue
  for (std::size_t i = 0; i < next.size(); ++i) {
    std::size_t& heir = heirs[static_cast<std::size_t>(next[i].parent)];
    if (heir == next.size()) {
      heir = i;
      continue;
    }
    const ActiveSequence& parent = *beams_[static_cast<std::size_t>(next[i].parent)];
    std::unique_ptr<ActiveSequence> beam = parent.fork();
    beam->patience = parent.patience;
    go_on(*beam, i);
    forks_.push_back(std::move(beam));
  }
  for (std::size_t i = 0; i < beams_.size(); ++i) {
    if (heirs[i] < next.size()) {
      go_on(*beams_[i], heirs[i]);
    } else {
      beams_[i]->ending = StopReason::length;  // no sequence that anybody was told of
    }
  }
}

// The best that ended, all of their tokens at once. Where a constraint has fewer texts than are
// asked for, the others have no tokens, and a score below all.
void StepLoop::hand_out_beams(ActiveRequest& request) {
  const Request& wanted = request.wanted;
  const BeamSearch& beams = *request.beams;
  for (std::int64_t rank = 0; rank < wanted.config.num_return_sequences; ++rank) {
    Ending ending{.request = request.id,
                  .sequence = rank,
                  .reason = StopReason::length,
                  .score = -std::numeric_limits<float>::infinity()};
    if (rank < std::ssize(beams.finished())) {
      const BeamSearch::Finished& finished = beams.finished()[static_cast<std::size_t>(rank)];
      ending.score = finished.score;
      const std::unique_ptr<GeneratedText> text = make_text(request);
      for (const std::int64_t node : beams.path(finished.node)) {
        NewToken token;
        if (!request.beam_tokens.empty()) {
          token = request.beam_tokens[static_cast<std::size_t>(node)];
        }
        token.request = request.id;
        token.sequence = rank;
        token.id = beams.node(node).id;
        if (text && request.has_text(token.id)) token.text += text->push(token.id);
        const bool last = node == finished.node;
        if (last && request.ends_with(token.id)) ending.reason = StopReason::eos;
        if (last && text && ending.reason != StopReason::eos && text->stopped()) {
          ending.reason = StopReason::stop_string;
        }
        if (last && text) token.text += text->finish();
        if (!wanted.text) token.text.clear();
        events_.tokens.push_back(std::move(token));
        ++counters_.new_tokens;
      }
    }
    events_.endings.push_back(ending);
  }
}

}  // namespace diffllama
