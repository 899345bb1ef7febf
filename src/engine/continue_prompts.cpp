#include "engine/continue_prompts.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "diffllama/error.h"
#include "engine/request_checks.h"
#include "engine/step_loop.h"

namespace diffllama {

std::vector<GeneratedSequence> continue_prompts(const ForwardModel& model, const Parallel& parallel,
                                                std::span<const std::vector<std::int64_t>> prompts,
                                                const GenerationConfig& config,
                                                const GenerationHooks& hooks) {
  check_generation(model, config, hooks.tokenizer, "[generate]");
  if (!hooks.negative_prompts.empty() && hooks.negative_prompts.size() != prompts.size()) {
    throw InvalidArgument("[generate] negative_prompts: expected one for each of " +
                          std::to_string(prompts.size()) + " prompts, got " +
                          std::to_string(hooks.negative_prompts.size()));
  }
  std::vector<Request> requests(prompts.size());
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    requests[i].ids = prompts[i];
    requests[i].config = config;
    if (!hooks.negative_prompts.empty()) {
      requests[i].config.negative_prompt_ids = hooks.negative_prompts[i];
    }
    check_prompt(model.config, prompts[i], requests[i].config,
                 "[generate] prompt " + std::to_string(i));
  }
  const std::int64_t max_sequences =
      std::max({kMaxActiveSequences, config.num_beams,
                config.guidance_scale != 1 ? 2 * config.num_return_sequences : 1});
  StepLoop loop(model, parallel,
                {.max_blocks = std::numeric_limits<std::int32_t>::max(),
                 .max_step_tokens = std::max(model.stack.prefill_chunk(), max_sequences),
                 .max_sequences = max_sequences,
                 .prefix_cache = false},
                hooks.tokenizer, hooks.warn, hooks.assistant);
  std::vector<GeneratedSequence> results;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    loop.add(std::move(requests[i]));
    results.insert(results.end(), static_cast<std::size_t>(config.num_return_sequences),
                   {.prompt_index = static_cast<std::int64_t>(i), .ids = {}, .text = {}});
  }
  const auto number_of = [&](const auto& event) {  // requests are counted from 1
    return static_cast<std::int64_t>(event.request - 1) * config.num_return_sequences +
           event.sequence;
  };
  for (GeneratedSequence& result : results) {  // no allocation while decoding
    result.ids.reserve(static_cast<std::size_t>(std::min(config.max_new_tokens, kPreparedTokens)));
  }
  while (loop.has_work()) {
    const StepEvents& events = loop.step();
    if (!events.refusals.empty()) throw Error(events.refusals.front().message);
    for (const NewToken& token : events.tokens) {
      GeneratedSequence& result = results[static_cast<std::size_t>(number_of(token))];
      result.ids.push_back(token.id);
      result.text += token.text;
      if (hooks.on_token) hooks.on_token(number_of(token), token.id, token.text);
    }
    for (const Ending& ending : events.endings) {
      GeneratedSequence& result = results[static_cast<std::size_t>(number_of(ending))];
      result.stop_reason = ending.reason;
      result.score = ending.score;
    }
  }
  return results;
}

}  // namespace diffllama
