#include "engine/scheduler.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

namespace diffllama {
namespace {

// Rows of a prompt's logits that are held at once.
constexpr std::int64_t kLogitRows = 64;

std::int64_t blocks_for(std::int64_t keys) {
  return (keys + kCacheBlockKeys - 1) / kCacheBlockKeys;
}

// Blocks that a sequence may come to hold, as far as it is worth preparing for.
std::int64_t expected_blocks(const ActiveSequence& sequence) {
  const ActiveRequest& request = *sequence.request;
  return blocks_for(std::min(request.max_keys(), request.prompt_length() + kPreparedTokens));
}

std::uint64_t cache_seed(const CacheLayout& layout, ProductType products) {
  return static_cast<std::uint64_t>(layout.type) << 8 | static_cast<std::uint64_t>(products);
}

}  // namespace

Scheduler::Scheduler(const ForwardModel& model, const SchedulerOptions& options)
    : stack_(model.stack),
      options_(options),
      // Two operations for a parameter; four for a key and a column of every head.
      keys_as_costly_(static_cast<double>(model.weights.layer_parameters()) /
                      static_cast<double>(2 * model.config.num_attention_heads *
                                          model.config.head_dim * model.config.num_hidden_layers)),
      pool_(stack_.make_cache(options.cache_type).layout().block, options.max_blocks) {
  options_.max_sequences = std::min(options.max_sequences, options.max_step_tokens);
  const SequenceCache cache = make_cache();
  if (options.prefix_cache) {
    prefix_.emplace(pool_, cache_seed(cache.layout(), cache.products()), options.prefix_hash_bits);
  }
}

SequenceCache Scheduler::make_cache() { return stack_.make_cache(options_.cache_type, &pool_); }

void Scheduler::make_room(std::size_t sequences) {
  const std::size_t needed = waiting_.size() + sequences;
  if (needed > waiting_.capacity()) waiting_.reserve(std::max(needed, 2 * waiting_.capacity()));
}

void Scheduler::add(std::unique_ptr<ActiveSequence> sequence) {
  sequence->waits = true;
  waiting_.push_back(std::move(sequence));
}

void Scheduler::add_fork(std::unique_ptr<ActiveSequence> sequence) {
  const auto all = [](const ActiveSequence& /*sequence*/) { return true; };
  if (sequence->cache.length() > 0 && places_taken(*sequence, all) <= options_.max_sequences) {
    sequence->waits = false;
    running_.push_back(std::move(sequence));
  } else {
    release(*sequence);
    add(std::move(sequence));
  }
}

void Scheduler::plan() {
  for (const auto& sequence : waiting_) ++sequence->patience;
  waiting_.reserve(waiting_.size() + running_.size());
  admit();
  order_.clear();
  for (const auto& sequence : running_) {
    sequence->planned = 0;
    order_.push_back(sequence.get());
  }
  std::ranges::sort(
      order_, [](const ActiveSequence* a, const ActiveSequence* b) { return a->goes_before(*b); });
  budget_ = options_.max_step_tokens;
  for (ActiveSequence* sequence : order_) {
    if (sequence->pending() == 1) plan_tokens(*sequence);
  }
  for (ActiveSequence* sequence : order_) {
    if (sequence->pending() > 1) plan_tokens(*sequence);
  }
  for (const auto& sequence : running_) {
    if (sequence->planned == 0) ++sequence->patience;
  }
}

// In order alone: a sequence that does not fit is not overtaken, or it might wait for ever. It
// waits until all that may throw is behind it.
void Scheduler::admit() {
  while (!waiting_.empty()) {
    const auto first = std::ranges::min_element(
        waiting_, [](const auto& a, const auto& b) { return a->goes_before(*b); });
    if ((*first)->scored) return;  // only such ones: there is nothing to run yet
    ActiveSequence& next = **first;
    running_.reserve(running_.size() + 1);
    take_prefix(next);
    next.cache.expect_blocks(expected_blocks(next));
    if (!make_way(next)) return release(next);
    next.waits = false;
    prefix_hit_tokens_ += next.cache.length();
    if (!next.negative && !next.request->prompt_done)
      next.request->prompt.cached_tokens = next.cache.length();
    // Those who made way wait now too, behind it: there was room for them.
    running_.push_back(std::move(*first));
    waiting_.erase(first);
    std::int64_t expected = 0;
    for (const auto& sequence : running_) {
      expected += std::max<std::int64_t>(expected_blocks(*sequence) - sequence->cache.blocks(), 0);
    }
    pool_.prepare(expected);
    if (prefix_) prefix_->prepare();
  }
}

// Places that are taken when `next` and those that `stays` holds of run.
template <class Stays>
std::int64_t Scheduler::places_taken(const ActiveSequence& next, const Stays& stays) const {
  std::int64_t places = next.request->places();
  for (std::size_t i = 0; i < running_.size(); ++i) {
    const ActiveRequest& request = *running_[i]->request;
    if (!stays(*running_[i])) continue;
    if (request.places() == 1) {
      ++places;
      continue;
    }
    bool counted = &request == next.request.get();
    for (std::size_t j = 0; j < i && !counted; ++j) {
      counted = running_[j]->request.get() == &request && stays(*running_[j]);
    }
    if (!counted) places += request.places();
  }
  return places;
}

// Blocks that nobody holds any more once those that `leaves` holds of have given theirs back.
template <class Leaves>
std::int64_t Scheduler::blocks_freed(const Leaves& leaves) {
  leaving_.clear();
  for (const auto& sequence : running_) {
    if (!leaves(*sequence)) continue;
    const SequenceCache& cache = sequence->cache;
    for (std::int64_t i = 0; i < cache.blocks(); ++i) leaving_.push_back(&cache.block(i));
  }
  const auto number = [](const CacheBlock* block) { return block->index(); };
  std::ranges::sort(leaving_, {}, number);
  std::int64_t freed = 0;
  for (auto first = leaving_.begin(); first != leaving_.end();) {
    const auto last = std::ranges::upper_bound(first, leaving_.end(), number(*first), {}, number);
    if (last - first == (*first)->sequences()) ++freed;
    first = last;
  }
  return freed;
}

// Whether there is a place and memory for `next`, which the less urgent give up for it, and beams
// that wait for others.
bool Scheduler::make_way(const ActiveSequence& next) {
  const auto gives_way = [&](const ActiveSequence& sequence) {
    return sequence.scored || sequence.urgency() < next.urgency();
  };
  const auto stays = [&](const ActiveSequence& sequence) { return !gives_way(sequence); };
  const auto all = [](const ActiveSequence& /*sequence*/) { return true; };
  const auto fits = [&](std::int64_t places, std::int64_t blocks) {
    // A block more for each that runs: else the next one to fill a block takes this one's again.
    return places <= options_.max_sequences &&
           blocks >= next.cache.blocks_missing(next.pending()) + promised() + std::ssize(running_);
  };
  if (fits(places_taken(next, all), available())) return true;
  std::int64_t more_blocks = blocks_freed(gives_way);
  for (const auto& sequence : running_) {
    if (!gives_way(*sequence)) continue;
    more_blocks += 1 + sequence->cache.blocks_missing(sequence->pending());
  }
  if (!fits(places_taken(next, stays), available() + more_blocks)) return false;
  while (!fits(places_taken(next, all), available())) {
    if (running_.empty() || !gives_way(least_urgent())) return false;
    preempt(least_urgent());
  }
  return true;
}

std::int64_t Scheduler::promised() const {
  std::int64_t blocks = 0;
  for (const auto& sequence : running_) {
    blocks += sequence->cache.blocks_missing(sequence->pending());
  }
  return blocks;
}

// Shares the blocks that hold the beginning of the sequence. One token at least is left to run.
void Scheduler::take_prefix(ActiveSequence& sequence) {
  if (!prefix_ || sequence.takes_prompt_rows()) return;
  while ((sequence.known_blocks + 1) * kCacheBlockKeys < sequence.length()) {
    const auto key = block_key(sequence, sequence.known_blocks);
    if (!key) break;
    std::optional<PrefixCache::Found> found = prefix_->find(sequence.place, *key);
    if (!found) break;
    sequence.cache.share(std::move(found->block));
    sequence.place = found->next;
    ++sequence.known_blocks;
  }
}

void Scheduler::note_full_blocks(ActiveSequence& sequence) {
  if (!prefix_) return;
  while ((sequence.known_blocks + 1) * kCacheBlockKeys <= sequence.cache.keys()) {
    const std::int64_t block = sequence.known_blocks;
    const auto key = block_key(sequence, block);
    if (!key) return;
    PrefixCache::Found found = prefix_->insert(sequence.place, *key, sequence.cache.block(block));
    sequence.cache.replace(block, std::move(found.block));
    sequence.place = found.next;
    ++sequence.known_blocks;
  }
}

// None for a block whose tokens were turned by different frequencies: others will hardly share it.
std::optional<PrefixCache::Key> Scheduler::block_key(const ActiveSequence& sequence,
                                                     std::int64_t block) const {
  const std::int64_t first = block * kCacheBlockKeys;
  const std::int64_t rotary = rotary_class(sequence, first);
  if (rotary != rotary_class(sequence, first + kCacheBlockKeys - 1)) return std::nullopt;
  return PrefixCache::Key{.ids = std::span(sequence.ids)
                                     .subspan(static_cast<std::size_t>(first),
                                              static_cast<std::size_t>(kCacheBlockKeys)),
                          .rotary_class = rotary};
}

std::int64_t Scheduler::rotary_class(const ActiveSequence& sequence, std::int64_t token) const {
  return stack_.rotary_class(sequence.rotary_length(token));
}

void Scheduler::plan_tokens(ActiveSequence& sequence) {
  if (sequence.waits || budget_ == 0) return;
  const std::int64_t first = sequence.cache.length();
  std::int64_t tokens = std::min(sequence.pending(), affordable(first));
  const ActiveRequest& request = *sequence.request;
  const bool logits = request.wanted.prompt_logprobs || !request.wanted.prompt_only;
  if (sequence.takes_prompt_rows() && logits) tokens = std::min(tokens, kLogitRows);
  std::int64_t alike = 1;  // tokens that one step may turn
  while (alike < tokens && rotary_class(sequence, first + alike) == rotary_class(sequence, first)) {
    ++alike;
  }
  if (!reserve(sequence, alike)) return;
  sequence.planned = alike;
  budget_ -= alike;
}

std::int64_t Scheduler::plan_draft(const ActiveSequence& sequence, std::int64_t count) const {
  const std::int64_t first = sequence.cache.length();
  std::int64_t tokens = std::min(count, budget_);
  while (tokens > 0 && sequence.cache.blocks_missing(1 + tokens) > pool_.free()) --tokens;
  std::int64_t alike = 0;  // tokens that the step of the next one may turn
  while (alike < tokens &&
         rotary_class(sequence, first + 1 + alike) == rotary_class(sequence, first)) {
    ++alike;
  }
  return alike;
}

void Scheduler::add_draft(ActiveSequence& sequence, std::int64_t count) {
  sequence.cache.reserve(1 + count);
  sequence.planned += count;
  budget_ -= count;
}

// Tokens of a prompt, `depth` others before them. Beside sequences that wait for their next token:
// as many as take the work that the budget's tokens take without others before them, where n tokens
// cost n (1 + (depth + n / 2) / keys_as_costly_).
std::int64_t Scheduler::affordable(std::int64_t depth) const {
  if (budget_ == options_.max_step_tokens) return budget_;
  const double keys = keys_as_costly_;
  const auto budget = static_cast<double>(budget_);
  const double work = budget * (1 + budget / (2 * keys));
  const double first = 1 + static_cast<double>(depth) / keys;
  const double tokens = keys * (std::sqrt(first * first + 2 * work / keys) - first);
  constexpr double kRounding = 1e-6;
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(tokens + kRounding), 1, budget_);
}

// Room for `tokens` more, which the less urgent give up their blocks for. False: this is the least
// urgent one, and waits now.
bool Scheduler::reserve(ActiveSequence& sequence, std::int64_t tokens) {
  while (sequence.cache.blocks_missing(tokens) > available()) {
    ActiveSequence& victim = least_urgent();
    preempt(victim);
    if (&victim == &sequence) return false;
  }
  while (sequence.cache.blocks_missing(tokens) > pool_.free()) {
    const bool dropped = prefix_->drop_oldest();
    assert(dropped);
    static_cast<void>(dropped);
  }
  sequence.cache.reserve(tokens);
  return true;
}

ActiveSequence& Scheduler::least_urgent() const {
  return **std::ranges::max_element(
      running_, [](const auto& a, const auto& b) { return a->goes_before(*b); });
}

void Scheduler::preempt(ActiveSequence& sequence) {
  const auto found = std::ranges::find(running_, &sequence, &std::unique_ptr<ActiveSequence>::get);
  ++preemptions_;
  budget_ += std::exchange(sequence.planned, 0);
  release(sequence);
  sequence.waits = true;
  waiting_.push_back(std::move(*found));
  running_.erase(found);
}

void Scheduler::release(ActiveSequence& sequence) {
  for (std::int64_t block = sequence.known_blocks; block-- > 0;) {
    prefix_->touch(sequence.cache.block(block).index());
  }
  sequence.cache.truncate(0, 0);
  if (sequence.draft_cache) sequence.draft_cache->truncate(0, 0);
  sequence.place = {};
  sequence.known_blocks = 0;
}

void Scheduler::remove_ended() {
  for (Sequences* sequences : {&running_, &waiting_}) {
    for (const auto& sequence : *sequences) {
      if (sequence->ending) release(*sequence);
    }
    std::erase_if(*sequences, [](const auto& sequence) { return sequence->ending.has_value(); });
  }
}

}  // namespace diffllama
