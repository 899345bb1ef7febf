#include "engine/request_checks.h"

#include "config/causal_lm.h"
#include "config/generation_config.h"
#include "diffllama/error.h"
#include "model/forward_batch.h"

namespace diffllama {
namespace {

void check_count(const char* name, const std::optional<std::int64_t>& count,
                 std::int64_t vocab_size) {
  if (!count || (*count >= 0 && *count <= vocab_size)) return;
  throw InvalidArgument(std::string("[engine] ") + name + ": expected 0.." +
                        std::to_string(vocab_size) + ", got " + std::to_string(*count));
}

// EOS ids may be of a tokenizer with more tokens than the model: they never come, and that is all.
void check_vocabulary(const GenerationConfig& config, std::int64_t vocab_size,
                      const std::string& who) {
  const auto check = [&](const char* name, std::int64_t id) {
    if (id >= 0 && id < vocab_size) return;
    throw InvalidArgument(who + " " + name + ": expected ids 0.." + std::to_string(vocab_size - 1) +
                          " of the model's vocabulary, got " + std::to_string(id));
  };
  const auto check_all = [&](const char* name, const std::vector<std::int64_t>& ids) {
    for (const std::int64_t id : ids) check(name, id);
  };
  for (const SequenceBias& bias : config.sequence_bias) check_all("sequence_bias", bias.ids);
  for (const auto& [id, bias] : config.logit_bias) check("logit_bias", id);
  for (const auto& ids : config.bad_words_ids) check_all("bad_words_ids", ids);
  if (config.forced_bos_token_id) check("forced_bos_token_id", *config.forced_bos_token_id);
  check_all("forced_eos_token_id", config.forced_eos_token_ids);
  check_all("suppress_tokens", config.suppress_tokens);
  check_all("begin_suppress_tokens", config.begin_suppress_tokens);
}

}  // namespace

void check_generation(const ForwardModel& model, const GenerationConfig& config,
                      const Tokenizer* tokenizer, const std::string& who) {
  require_causal_lm(who, model.config);
  if (const std::string problem = find_problem(config); !problem.empty()) {
    throw InvalidArgument(who + " " + problem);
  }
  check_vocabulary(config, model.config.vocab_size, who);
  if (!config.stop_strings.empty() && tokenizer == nullptr) {
    throw InvalidArgument(who + " stop_strings: expected a tokenizer to find them with, got none");
  }
}

void check_prompt(const ModelConfig& model, std::span<const std::int64_t> ids,
                  const GenerationConfig& config, const std::string& who) {
  const std::int64_t length = std::ssize(ids);
  if (length == 0) throw InvalidArgument(who + ": expected at least one token, got none");
  if (config.max_length && length >= *config.max_length) {
    throw InvalidArgument(who + ": expected fewer tokens than max_length " +
                          std::to_string(*config.max_length) + ", got " + std::to_string(length));
  }
  check_ids("input_ids", ids, model.vocab_size);
  check_ids("negative_prompt_ids", config.negative_prompt_ids, model.vocab_size);
}

void check_request(const ForwardModel& model, const Request& request, const Tokenizer* tokenizer) {
  if (!request.prompt_only) check_generation(model, request.config, tokenizer, "[engine]");
  check_prompt(model.config, request.ids, request.prompt_only ? GenerationConfig{} : request.config,
               "[engine] ids");
  check_count("logprobs", request.logprobs, model.config.vocab_size);
  check_count("prompt_logprobs", request.prompt_logprobs, model.config.vocab_size);
  if (request.prompt_logprobs) require_causal_lm("[engine] prompt_logprobs:", model.config);
}

std::vector<std::int64_t> ending_tokens(const ModelConfig& model, const GenerationConfig& config) {
  if (config.ignore_eos) return {};
  return config.eos_token_ids.empty() ? model.eos_token_ids : config.eos_token_ids;
}

}  // namespace diffllama
