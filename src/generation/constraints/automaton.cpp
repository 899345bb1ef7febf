#include "generation/constraints/automaton.h"

#include <algorithm>
#include <utility>

#include "diffllama/error.h"

namespace diffllama {
namespace {

constexpr std::uint32_t kUnbounded = UINT32_MAX;
// Places of one state: more means that a grammar is ambiguous without end.
constexpr std::size_t kMostPlaces = 1 << 16;

std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15U;
  return hash ^ (hash >> 29);
}

std::uint64_t key_of(std::uint32_t high, std::uint32_t low) {
  return std::uint64_t{high} << 32 | low;
}

}  // namespace

std::size_t Automaton::FrameHash::operator()(const Frame& frame) const {
  std::uint64_t hash = mix(frame.parent, frame.target);
  hash = mix(hash, frame.edge);
  return mix(hash, key_of(frame.needed, frame.left));
}

Automaton::Automaton(const ByteGraph& graph, std::string where, std::size_t memory_limit)
    : graph_(graph), where_(std::move(where)), memory_limit_(memory_limit) {
  frames_.push_back({});  // the bottom
  start_ = intern({{graph.rule_starts[graph.root], kBottom}});
}

void Automaton::spend(std::size_t bytes) {
  memory_ += bytes;
  if (memory_ > memory_limit_) {
    throw Error(where_ + ": expected a constraint that needs at most " +
                std::to_string(memory_limit_) + " bytes, got more");
  }
}

std::uint32_t Automaton::intern_frame(const Frame& frame) {
  const auto [entry, added] =
      frame_numbers_.try_emplace(frame, static_cast<std::uint32_t>(frames_.size()));
  if (added) {
    spend(3 * sizeof(Frame) + 32);
    frames_.push_back(frame);
  }
  return entry->second;
}

// Goes on where a rule has ended.
void Automaton::end_of_rule(std::uint32_t number, std::vector<Place>& work) {
  if (number == kBottom) {
    accepts_ = true;
    return;
  }
  const Frame frame = frames_[number];
  if (frame.edge == kNoEdge) {
    work.push_back({frame.target, frame.parent});
    return;
  }
  if (frame.needed == 0) work.push_back({frame.target, frame.parent});
  if (frame.left == 0) return;
  Frame again = frame;
  again.needed -= again.needed > 0 ? 1 : 0;
  again.left -= again.left != kUnbounded ? 1 : 0;
  work.push_back({graph_.rule_starts[graph_.rule_edges[frame.edge].rule], intern_frame(again)});
}

void Automaton::follow(Place place, std::vector<Place>& work) {
  const ByteGraph::Node& node = graph_.nodes[place.node];
  if (!node.bytes.empty()) found_.push_back(place);
  for (const std::uint32_t target : node.empty) work.push_back({target, place.frame});
  if (node.ends_rule) end_of_rule(place.frame, work);
  for (const std::uint32_t number : node.rules) {
    const ByteGraph::RuleEdge& edge = graph_.rule_edges[number];
    const std::uint32_t start = graph_.rule_starts[edge.rule];
    if (!edge.repeats) {
      const bool returns = !graph_.nodes[edge.target].only_ends;
      work.push_back({start, returns ? intern_frame({.parent = place.frame, .target = edge.target})
                                     : place.frame});
      continue;
    }
    if (edge.least == 0) work.push_back({edge.target, place.frame});
    if (edge.most == 0) continue;
    const std::uint32_t left = edge.most == kUnbounded ? kUnbounded : edge.most - 1;
    work.push_back({start, intern_frame({.parent = place.frame,
                                         .target = edge.target,
                                         .edge = number,
                                         .needed = edge.least > 0 ? edge.least - 1 : 0,
                                         .left = left})});
  }
}

Automaton::State Automaton::intern(std::vector<Place> places) {
  work_ = std::move(places);
  found_.clear();
  seen_.clear();
  accepts_ = false;
  while (!work_.empty()) {
    const Place place = work_.back();
    work_.pop_back();
    if (!seen_.try_emplace(key_of(place.node, place.frame), true).second) continue;
    if (seen_.size() > kMostPlaces) {
      throw Error(where_ + ": expected a constraint with at most " + std::to_string(kMostPlaces) +
                  " ways to go on, got more");
    }
    follow(place, work_);
  }
  std::ranges::sort(found_);
  return intern_state({.places = found_, .accepts = accepts_});
}

Automaton::State Automaton::intern_state(StateData data) {
  std::uint64_t hash = data.accepts ? 1 : 2;
  for (const Place& place : data.places) hash = mix(hash, key_of(place.node, place.frame));
  const auto [first, last] = state_numbers_.equal_range(hash);
  for (auto entry = first; entry != last; ++entry) {
    const StateData& known = states_[entry->second];
    if (known.accepts == data.accepts && known.places == data.places) return entry->second;
  }
  spend(256 * sizeof(std::uint32_t) + sizeof(StateData) + 48 + data.places.size() * sizeof(Place));
  const auto number = static_cast<State>(states_.size());
  states_.push_back(std::move(data));
  state_numbers_.emplace(hash, number);
  table_.resize(table_.size() + 256, kUnknown);
  return number;
}

Automaton::State Automaton::find_next(State state, std::uint8_t byte) {
  std::vector<Place> places;
  for (const Place& place : states_[state].places) {
    for (const ByteGraph::ByteEdge& edge : graph_.nodes[place.node].bytes) {
      if (byte >= edge.first && byte <= edge.last) places.push_back({edge.target, place.frame});
    }
  }
  const State next = places.empty() ? kDead : intern(std::move(places));
  // A state that can neither end nor go on is none.
  const bool dead = next == kDead || (!accepts(next) && !goes_on(next));
  return table_[std::size_t{state} * 256 + byte] = dead ? kDead : next;
}

std::uint32_t Automaton::cut_frame(std::uint32_t number, std::uint32_t bytes) {
  if (number == kBottom) return number;
  // Frames from here down that have no cut form yet; deep stacks must not be a deep recursion.
  std::vector<std::uint32_t> pending;
  std::uint32_t below = number;
  while (below != kBottom && !cut_frames_.contains(key_of(below, bytes))) {
    pending.push_back(below);
    below = frames_[below].parent;
  }
  std::uint32_t result = below == kBottom ? kBottom : cut_frames_.at(key_of(below, bytes));
  for (std::size_t i = pending.size(); i-- > 0;) {
    Frame frame = frames_[pending[i]];
    frame.parent = result;
    frame.needed = std::min(frame.needed, bytes + 1);
    if (frame.left != kUnbounded) frame.left = std::min(frame.left, bytes + 1);
    result = intern_frame(frame);
    spend(48);
    cut_frames_[key_of(pending[i], bytes)] = result;
  }
  return result;
}

Automaton::State Automaton::cut(State state, std::uint32_t bytes) {
  if (states_[state].cut != kUnknown) return states_[state].cut;
  StateData data = {.places = states_[state].places, .accepts = states_[state].accepts};
  for (Place& place : data.places) place.frame = cut_frame(place.frame, bytes);
  std::ranges::sort(data.places);
  data.places.erase(std::unique(data.places.begin(), data.places.end()), data.places.end());
  const State result = intern_state(std::move(data));
  states_[state].cut = result;
  states_[result].cut = result;
  return result;
}

}  // namespace diffllama
