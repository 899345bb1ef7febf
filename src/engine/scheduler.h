#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/prefix_cache.h"
#include "engine/sequence.h"
#include "model/cache_blocks.h"
#include "model/forward.h"

namespace diffllama {

struct SchedulerOptions {
  std::int64_t max_blocks = 0;  // of the pool
  std::int64_t max_step_tokens = 512, max_sequences = 64;
  bool prefix_cache = true;
  int prefix_hash_bits = 64;  // fewer: collisions, for tests
  CacheType cache_type = CacheType::automatic;
};

/// Decides what runs in a step, and where its keys and values lie. Sequences wait until there is a
/// place and memory for their prompt; a running one that needs a block where none is left takes
/// those of the least urgent, which then waits again and is recomputed.
class Scheduler {
 public:
  using Sequences = std::vector<std::unique_ptr<ActiveSequence>>;

  Scheduler(const ForwardModel& model, const SchedulerOptions& options);

  std::int64_t max_blocks() const { return pool_.limit(); }
  std::int64_t max_step_tokens() const { return options_.max_step_tokens; }
  std::int64_t max_sequences() const { return options_.max_sequences; }
  std::size_t block_bytes() const { return pool_.block_bytes(); }
  /// An empty cache of the pool's blocks.
  SequenceCache make_cache();

  /// Room for so many more sequences, which add() then takes without a memory to ask for.
  void make_room(std::size_t sequences);
  void add(std::unique_ptr<ActiveSequence> sequence);
  /// Another sequence that runs on from the same cache, or waits where no more may run or its cache
  /// was taken away.
  void add_fork(std::unique_ptr<ActiveSequence> sequence);
  /// Lets waiting sequences in, and sets `planned` of those that run: at most max_step_tokens in
  /// all, fewer where a prompt's tokens beside others have many keys to attend to, so that a
  /// step's work is bounded too. Their caches have room for it. May throw std::bad_alloc, and be
  /// called again.
  void plan();
  /// After plan(): how many of `count` guessed tokens of a sequence may come along beside its next
  /// one. They take what nobody else needs.
  std::int64_t plan_draft(const ActiveSequence& sequence, std::int64_t count) const;
  /// Takes a draft along, as many as plan_draft() allows.
  void add_draft(ActiveSequence& sequence, std::int64_t count);
  /// After the step: tells the prefix cache of blocks that are full.
  void note_full_blocks(ActiveSequence& sequence);
  /// Frees every sequence whose ending is set.
  void remove_ended();
  void clear_prefix_cache() {
    if (prefix_) prefix_->clear();
  }

  const Sequences& running() const { return running_; }
  const Sequences& waiting() const { return waiting_; }
  const CacheBlockPool& pool() const { return pool_; }
  std::int64_t prefix_hit_tokens() const { return prefix_hit_tokens_; }
  std::int64_t preemptions() const { return preemptions_; }

 private:
  void admit();
  bool make_way(const ActiveSequence& next);
  template <class Stays>
  std::int64_t places_taken(const ActiveSequence& next, const Stays& stays) const;
  template <class Leaves>
  std::int64_t blocks_freed(const Leaves& leaves);
  void take_prefix(ActiveSequence& sequence);
  void plan_tokens(ActiveSequence& sequence);
  bool reserve(ActiveSequence& sequence, std::int64_t tokens);
  std::int64_t affordable(std::int64_t depth) const;
  ActiveSequence& least_urgent() const;
  void preempt(ActiveSequence& sequence);
  void release(ActiveSequence& sequence);
  std::int64_t available() const { return pool_.free() + pool_.kept(); }
  /// Blocks that running sequences still need for the tokens they have.
  std::int64_t promised() const;
  std::int64_t rotary_class(const ActiveSequence& sequence, std::int64_t token) const;
  std::optional<PrefixCache::Key> block_key(const ActiveSequence& sequence,
                                            std::int64_t block) const;

  const DiffLlamaModel& stack_;
  SchedulerOptions options_;
  double keys_as_costly_;  // keys that attending to costs a token as much as the layers' matrices
  CacheBlockPool pool_;
  std::optional<PrefixCache> prefix_;
  Sequences waiting_, running_;  // after the pool: their blocks go back to it
  std::vector<ActiveSequence*> order_;
  std::vector<const CacheBlock*> leaving_;
  std::int64_t budget_ = 0;  // tokens left of the step that is planned
  std::int64_t prefix_hit_tokens_ = 0, preemptions_ = 0;
};

}  // namespace diffllama
