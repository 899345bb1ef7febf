#pragma once

#include <chrono>
#include <condition_variable>
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

  void cancel(RequestId id) {
    const std::lock_guard lock(mutex_);
    cancelled_.push_back(id);
    changed_.notify_all();
  }

  /// Moves what came since the last time into the arguments, which are empty.
  void take(std::vector<std::unique_ptr<ActiveSequence>>& added,
            std::vector<RequestId>& cancelled) {
    const std::lock_guard lock(mutex_);
    std::swap(added, added_);
    std::swap(cancelled, cancelled_);
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
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return works(); });
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
