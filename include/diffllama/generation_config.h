#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "diffllama/config.h"

namespace [[gnu::visibility("default")]] diffllama {

class Constraint;
class LogitsProcessor;

/// A number that is added to the score of a sequence's last token where the others stand before it.
struct SequenceBias {
  std::vector<std::int64_t> ids;  // not empty
  double bias = 0;                // minus infinity bans
};

/// `exponential_decay_length_penalty`: past `start` new tokens the score of EOS grows by
/// |score| (factor^n - 1), n counting the tokens since.
struct ExponentialDecay {
  std::int64_t start = 0;
  double factor = 1;
};

/// A watermark in the choice of tokens (https://arxiv.org/abs/2306.04634): `bias` is added to the
/// scores of a share of the vocabulary that follows from the tokens before.
struct WatermarkingConfig {
  enum class SeedingScheme { lefthash, selfhash };

  double greenlist_ratio = 0.25;  // above 0, below 1
  double bias = 2.0;
  std::int64_t hashing_key = 15485863;  // >= 0
  SeedingScheme seeding_scheme = SeedingScheme::lefthash;
  std::int64_t context_width = 1;  // >= 1
};

/// When beam search ends, where `num_beams` sequences have ended (transformers' early_stopping).
/// false: at once where no running beam, as long as it is now, beats the worst of them; true: at
/// once; never: where none could, however long it gets.
enum class EarlyStopping { no, yes, never };

/// Options of generation, named as transformers' GenerationConfig; a generation_config.json beside
/// the model gives defaults. docs/generation.md has the list.
struct GenerationConfig {
  // How long
  std::int64_t max_new_tokens = 128;
  /// Prompt and new tokens together; where set it bounds a sequence in place of max_new_tokens. A
  /// caller who sets max_new_tokens over a file's defaults resets it.
  std::optional<std::int64_t> max_length;
  std::int64_t min_new_tokens = 0;
  /// As max_length: where set, in place of min_new_tokens.
  std::optional<std::int64_t> min_length;
  /// Seconds, > 0, from when a request is added: a sequence ends with the first token past them, as
  /// at its full length.
  std::optional<double> max_time;
  std::vector<std::int64_t> eos_token_ids;  // empty: the model's
  std::optional<std::int64_t> pad_token_id;
  bool ignore_eos = false;
  std::vector<std::string> stop_strings;

  // What changes scores, in this order
  /// Classifier-free guidance: log-probabilities p become q + guidance_scale (p - q), where q are
  /// those after negative_prompt_ids and the new tokens. 1: off; above: away from that prompt.
  double guidance_scale = 1.0;
  std::vector<std::int64_t> negative_prompt_ids;  // empty: the prompt's last token
  std::vector<SequenceBias> sequence_bias;
  double repetition_penalty = 1.0;        // > 0; 1: off
  std::int64_t no_repeat_ngram_size = 0;  // 0: off
  std::vector<std::vector<std::int64_t>> bad_words_ids;
  std::optional<std::int64_t> forced_bos_token_id;  // the token after a prompt of one token
  std::vector<std::int64_t> forced_eos_token_ids;   // the last token of a sequence of full length
  std::optional<ExponentialDecay> exponential_decay_length_penalty;
  std::vector<std::int64_t> suppress_tokens;
  std::vector<std::int64_t> begin_suppress_tokens;          // not as the first new token
  std::vector<std::pair<std::int64_t, double>> logit_bias;  // minus infinity bans
  /// Taken off the score of a token that was generated before: once, and once each time.
  double presence_penalty = 0;
  double frequency_penalty = 0;
  /// The caller's own, after those above and before those below.
  std::vector<std::shared_ptr<LogitsProcessor>> logits_processors;
  /// What the text may be; null: anything.
  std::shared_ptr<const Constraint> constraint;

  // Drawing; without do_sample the largest score is taken, whatever these say
  bool do_sample = false;
  double temperature = 1.0;     // >= 0; 0: greedy
  std::optional<double> top_h;  // above 0, at most 1
  std::int64_t top_k = 50;      // 0 or -1: off
  double top_p = 1.0;           // 0 to 1; 1: off, 0: the most likely token alone
  double min_p = 0.0;           // 0 to 1; 0: off
  double typical_p = 1.0;       // above 0, at most 1; 1: off
  double epsilon_cutoff = 0.0;  // 0 to 1; 0 and 1: off
  double eta_cutoff = 0.0;      // 0 to 1; 0 and 1: off
  std::optional<WatermarkingConfig> watermarking_config;
  bool renormalize_logits = false;
  std::uint64_t seed = 0;
  /// More than 1 needs do_sample or as many beams.
  std::int64_t num_return_sequences = 1;

  // Beam search, and with do_sample beam sampling: the num_beams likeliest sequences go on side by
  // side, and the best that ended are returned, by the sum of their log-probabilities divided by
  // length^length_penalty
  std::int64_t num_beams = 1;   // 1 to 1024; 1: off
  double length_penalty = 1.0;  // above 0: longer ones are better off
  EarlyStopping early_stopping = EarlyStopping::no;

  // Speculation: several tokens are guessed and then checked together. It changes no token, and is
  // left out in beam search
  /// Guesses come from behind an earlier place of the sequence that ends alike: at most so many.
  std::optional<std::int64_t> prompt_lookup_num_tokens;  // >= 1
  std::int64_t max_matching_ngram_size = 2;              // tokens that must be alike at most, >= 1
  /// Guesses of a draft model: at most so many, and none behind one that it finds less likely.
  std::int64_t num_assistant_tokens = 20;       // >= 1
  double assistant_confidence_threshold = 0.4;  // 0 to 1

  /// What the generation_config.json of a Hugging Face directory or the metadata of a .gguf file
  /// says; defaults where there is none. What it asks for that is not supported is a warning.
  /// Throws IoError, FormatError, ConfigError.
  static GenerationConfig from_pretrained(const std::filesystem::path& model,
                                          const WarningHandler& warn = {});
  /// Sets the options that a JSON object has, named as in generation_config.json; absent and null
  /// ones stay. A count of new tokens takes the place of the length that counts the prompt.
  /// Messages start with `where`. Throws FormatError for text that is no such object, ConfigError
  /// for a value of a wrong type.
  void update(std::string_view json, const std::string& where = "generation options");
  /// Throws ConfigError "FIELD: expected ..., got ..." for the first option that is not allowed.
  void validate() const;
  /// The text of a generation_config.json with the options that differ from their defaults.
  std::string to_json() const;
};

/// How an option is given on a command line.
enum class OptionShape {
  flag,      // nothing follows
  value,     // a number or a word
  integers,  // numbers with commas between them, or a JSON list
  texts,     // one text each time that it is given
  json,
};

/// An option of generation, for programs that list them.
struct GenerationOption {
  std::string name;  // in generation_config.json; on a command line with - in place of _
  OptionShape shape = OptionShape::value;
  std::string help;
  std::string default_value;  // JSON
};
/// All that GenerationConfig::update reads.
std::vector<GenerationOption> generation_options();

}  // namespace diffllama
