#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "generation/constraints/grammar.h"

namespace diffllama {

/// A grammar as a machine over bytes: each rule a small graph whose edges take a byte, nothing, a
/// whole rule, or a rule many times.
struct ByteGraph {
  struct ByteEdge {
    std::uint8_t first, last;
    std::uint32_t target;
  };
  struct RuleEdge {
    std::uint32_t rule, target;
    /// kOnce: the rule once; else least..most times (UINT32_MAX: any number), and the rule matches
    /// no empty text.
    std::uint32_t least = 1, most = 1;
    bool repeats = false;
  };
  struct Node {
    std::vector<ByteEdge> bytes;
    std::vector<std::uint32_t> empty;
    std::vector<std::uint32_t> rules;  // numbers of rule_edges
    bool ends_rule = false;
    /// Nothing but the rule's end can follow: a call that returns here need not return.
    bool only_ends = false;
  };

  /// Without what can never come to an end: a root of which that is true has no way to go on.
  /// Throws InvalidArgument past the limits, and for rules that begin with themselves.
  static ByteGraph compile(Grammar& grammar, Grammar::Rule root);

  std::vector<Node> nodes;
  std::vector<RuleEdge> rule_edges;
  std::vector<std::uint32_t> rule_starts;
  std::uint32_t root = 0;
};

/// The graph as a deterministic machine whose states are made as they are reached. A state is a set
/// of places in the graph, each with the stack of what it has to return to; stacks share their
/// tails. Not for several threads at once.
class Automaton {
 public:
  using State = std::uint32_t;
  static constexpr State kDead = UINT32_MAX;

  /// `graph` must outlive it. Messages begin with `where`; memory is that of states and stacks.
  Automaton(const ByteGraph& graph, std::string where, std::size_t memory_limit);

  State start() const { return start_; }
  /// kDead when no text goes on so. Throws Error past the memory limit.
  State next(State state, std::uint8_t byte) {
    const std::uint32_t known = table_[std::size_t{state} * 256 + byte];
    return known != kUnknown ? known : find_next(state, byte);
  }
  /// The text so far is whole.
  bool accepts(State state) const { return states_[state].accepts; }
  /// Some byte may follow.
  bool goes_on(State state) const { return !states_[state].places.empty(); }
  /// The state that no continuation of at most `bytes` bytes can tell from this one, with counts
  /// cut to what matters for them: many states have the same.
  State cut(State state, std::uint32_t bytes);

  std::size_t size() const { return states_.size(); }

 private:
  static constexpr std::uint32_t kUnknown = UINT32_MAX - 1;
  static constexpr std::uint32_t kBottom = 0;
  static constexpr std::uint32_t kNoEdge = UINT32_MAX;

  // What to return to: a node, or a rule that repeats.
  struct Frame {
    std::uint32_t parent = 0;
    std::uint32_t target = 0;            // node to go on at
    std::uint32_t edge = kNoEdge;        // the edge that repeats
    std::uint32_t needed = 0, left = 0;  // repetitions after the present one: at least, at most
    bool operator==(const Frame&) const = default;
  };
  struct FrameHash {
    std::size_t operator()(const Frame& frame) const;
  };
  struct Place {
    std::uint32_t node, frame;
    auto operator<=>(const Place&) const = default;  // NOLINT(modernize-use-nullptr): clang-tidy 14
  };
  struct StateData {
    std::vector<Place> places;  // that take a byte; ascending
    bool accepts = false;
    State cut = kUnknown;
  };

  State find_next(State state, std::uint8_t byte);
  // The state of places from which nothing has been followed yet.
  State intern(std::vector<Place> places);
  void follow(Place place, std::vector<Place>& work);
  void end_of_rule(std::uint32_t number, std::vector<Place>& work);
  std::uint32_t intern_frame(const Frame& frame);
  std::uint32_t cut_frame(std::uint32_t number, std::uint32_t bytes);
  State intern_state(StateData data);
  void spend(std::size_t bytes);

  const ByteGraph& graph_;
  std::string where_;
  std::size_t memory_limit_, memory_ = 0;
  std::vector<Frame> frames_;
  std::unordered_map<Frame, std::uint32_t, FrameHash> frame_numbers_;
  std::vector<StateData> states_;
  std::unordered_multimap<std::uint64_t, State> state_numbers_;
  std::vector<std::uint32_t> table_;  // [states, 256]
  std::unordered_map<std::uint64_t, std::uint32_t> cut_frames_;
  State start_ = 0;

  // Of intern(), used again.
  std::vector<Place> work_, found_;
  bool accepts_ = false;
  std::unordered_map<std::uint64_t, bool> seen_;
};

}  // namespace diffllama
