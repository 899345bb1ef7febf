#include "model/heads/heads.h"

namespace diffllama {

void head_product(const ModelWeights& weights, const float* x, std::int64_t rows, float* y,
                  ActivationRows& scratch, const Parallel& parallel,
                  const std::optional<LoraDropout>& dropout) {
  const PackedMatrix& w = weights.head.weight;
  scratch.assign(x, rows, w.k(), w.k(), weights.product_type);
  Product product = {&w, weights.head.bias_or_null(), nullptr, w.n()};
  product.y = y;
  // In generation the next token's first layer comes next.
  matmul(scratch, {&product, 1}, parallel, &weights.layers.front().q_proj.weight);
  if (weights.head.lora) {
    LoraScratch lora;
    add_lora(*weights.head.lora, dropout, x, rows, y, lora, parallel);
  }
}

void apply_head(const HeadContext& context, ForwardOutput& output) {
  switch (context.config.architecture) {
    case Architecture::base_model:
      output.last_hidden_state = context.last_hidden_state;
      break;
    case Architecture::causal_lm:
      causal_lm_head(context, output);
      break;
    case Architecture::sequence_classification:
      sequence_classification_head(context, output);
      break;
    case Architecture::question_answering:
      question_answering_head(context, output);
      break;
    case Architecture::token_classification:
      token_classification_head(context, output);
      break;
  }
}

}  // namespace diffllama
