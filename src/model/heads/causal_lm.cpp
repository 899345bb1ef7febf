#include <algorithm>
#include <vector>

#include "diffllama/error.h"
#include "model/heads/heads.h"
#include "model/heads/losses.h"
#include "model/heads/targets.h"

namespace diffllama {

void causal_lm_head(const HeadContext& context, ForwardOutput& output) {
  const Shape& shape = context.last_hidden_state.shape();
  const std::int64_t batch = shape[0], tokens = shape[1], width = shape[2];
  const std::int64_t vocabulary = context.weights.head.weight.n();
  const std::int64_t keep = context.inputs.logits_to_keep;
  if (keep < 0) {
    throw InvalidArgument("[logits_to_keep] expected 0 (all) or more, got " + std::to_string(keep));
  }
  const std::int64_t kept = keep == 0 ? tokens : std::min(keep, tokens);

  Tensor logits(DType::float32, {batch, kept, vocabulary});
  ActivationRows scratch;
  for (std::int64_t b = 0; b < batch; ++b) {
    const float* x = context.last_hidden_state.f32().data() + (b * tokens + tokens - kept) * width;
    head_product(context.weights, x, kept, logits.f32().data() + b * kept * vocabulary, scratch,
                 context.parallel);
  }
  if (context.inputs.labels) {
    if (kept != tokens) {
      throw InvalidArgument("[labels] expected logits_to_keep 0 with labels, got " +
                            std::to_string(keep) + " of " + std::to_string(tokens) + " tokens");
    }
    const std::vector<std::int64_t> shifted =
        next_token_labels(*context.inputs.labels, batch, tokens);
    output.loss = cross_entropy(logits.f32(), vocabulary, shifted, "labels");
  }
  output.logits = std::move(logits);
}

}  // namespace diffllama
