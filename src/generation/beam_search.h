#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "diffllama/generation_config.h"

namespace diffllama {

/// Beam search and beam sampling of one prompt, as transformers' `_beam_search` goes: which tokens
/// continue which beams, what has ended, and when it is over. It knows tokens and scores alone;
/// whoever runs the model has a sequence for each running beam.
///
/// A beam that can only be continued by tokens that are ruled out is given up; transformers takes
/// it along with a score of -1e9.
class BeamSearch {
 public:
  struct Settings {
    std::int64_t num_beams = 1;
    double length_penalty = 1;
    EarlyStopping early_stopping = EarlyStopping::no;
    std::int64_t max_new_tokens = 0;
    std::int64_t ending_tokens = 0;  // how many tokens end a sequence
    bool samples = false;
    std::uint64_t seed = 0;
  };
  /// A beam that runs: what it was before this step, and the token that it was continued with.
  struct Beam {
    std::int64_t parent = 0;  // of the beams that ran before
    std::int64_t node = 0;    // its last token's, see node()
    float score = 0;          // sum of what its tokens added
  };
  /// A token of a beam; its node's number is larger than that of the token before it.
  struct Node {
    std::int64_t before = 0;  // node of the token before it; -1: the prompt
    std::int64_t beam = 0;    // the running beam that it continued
    std::int64_t id = 0;
  };
  struct Finished {
    std::int64_t node = 0;
    float score = 0;  // divided by length^length_penalty
  };
  /// Whether the running beam `beam` ends when the token `id` comes after it.
  using Ends = std::function<bool(std::int64_t beam, std::int64_t id)>;

  explicit BeamSearch(const Settings& settings);

  /// scores[i], [V]: what each token adds to the score of running beam i; minus infinity: ruled
  /// out. Throws Error where no token is left to any beam, and nothing has ended.
  void step(std::span<const std::span<const float>> scores, const Ends& ends);

  /// The beams that go on, the best first; one without tokens before the first step.
  const std::vector<Beam>& running() const { return running_; }
  bool done() const { return done_; }
  /// At most num_beams sequences that ended, the best first.
  const std::vector<Finished>& finished() const { return finished_; }
  const Node& node(std::int64_t i) const { return nodes_[static_cast<std::size_t>(i)]; }
  std::int64_t nodes() const { return static_cast<std::int64_t>(nodes_.size()); }
  /// Nodes of a beam's tokens, the first token's first.
  std::vector<std::int64_t> path(std::int64_t last) const;

 private:
  struct Candidate {
    float score = 0;
    std::int64_t beam = 0, id = 0;
    bool ends = false;
  };
  void take_best(std::span<const std::span<const float>> scores, std::int64_t count);
  void draw(std::span<const std::span<const float>> scores, std::int64_t count);
  void finish_best();
  bool may_improve() const;
  float divided(float score, std::int64_t length) const;
  std::int64_t add_node(const Candidate& candidate);

  Settings settings_;
  std::int64_t length_ = 0;  // tokens of each running beam
  bool improvable_ = true, done_ = false;
  std::vector<Beam> running_, next_;
  std::vector<Finished> finished_;
  std::vector<Node> nodes_;
  std::vector<Candidate> candidates_;  // the best first
  std::vector<double> weights_;        // of draw()
};

}  // namespace diffllama
