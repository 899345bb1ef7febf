#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <iterator>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "engine/sequence.h"

namespace diffllama {

/// What other threads ask of a step loop until its thread takes it. Every function may be called by
/// any thread.
class Inbox {
 public:
  /// Gives the request its id.
  RequestId add(std::unique_ptr<ActiveSequence> sequence) {
    const std::lock_guard lock(mutex_);
    sequence->request->id = last_id_ + 1;
    added_.push_back(std::move(sequence));
    changed_.notify_all();
    return ++last_id_;
  }

  /// An id that no request has yet is nobody's.
  void cancel(RequestId id) {
    const std::lock_guard lock(mutex_);
    if (id > last_id_) return;
    cancelled_.push_back(id);
    changed_.notify_all();
  }

  /// Moves what came since the last time behind what the arguments hold.
  void take(std::vector<std::unique_ptr<ActiveSequence>>& added,
            std::vector<RequestId>& cancelled) {
    const std::lock_guard lock(mutex_);
    added.reserve(added.size() + added_.size());
    cancelled.reserve(cancelled.size() + cancelled_.size());
    std::ranges::move(added_, std::back_inserter(added));
    std::ranges::copy(cancelled_, std::back_inserter(cancelled));
    added_.clear();
    cancelled_.clear();
  }

  /// The loop's thread says whether it has sequences, and how it stands.
  void report(const EngineCounters& counters) {
    const std::lock_guard lock(mutex_);
    counters_ = counters;
  }
  EngineCounters counters() const {
    const std::lock_guard lock(mutex_);
    return counters_;
  }

  bool has_work() const {
    const std::lock_guard lock(mutex_);
    return works();
  }
  /// Returns once there is work, or after `seconds`.
  void wait(double seconds) const {
    const auto longest = std::chrono::steady_clock::now() + duration_of(seconds);
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, longest, [&] { return works(); });
  }

 private:
  bool works() const {
    return !added_.empty() || !cancelled_.empty() || counters_.running + counters_.waiting > 0;
  }

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  RequestId last_id_ = 0;
  std::vector<std::unique_ptr<ActiveSequence>> added_;
  std::vector<RequestId> cancelled_;
  EngineCounters counters_;
};

}  // namespace diffllama
