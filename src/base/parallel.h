#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace diffllama {

/// What a task does, borrowed for the call: body(task, worker). Unlike std::function it never
/// allocates.
class TaskBody {
 public:
  template <class Body>
  requires(!std::is_same_v<std::remove_cvref_t<Body>, TaskBody>)
      TaskBody(const Body& body)  // NOLINT(google-explicit-constructor): taken in place
      : body_(&body), call_([](const void* object, std::int64_t task, int worker) {
          (*static_cast<const Body*>(object))(task, worker);
        }) {}
  void operator()(std::int64_t task, int worker) const { call_(body_, task, worker); }

 private:
  const void* body_;
  void (*call_)(const void*, std::int64_t, int);
};

/// Memory that the threads of a later run will read first: worker w `bytes` from data + w * stride
/// on.
struct ReadAhead {
  const std::byte* data = nullptr;
  std::size_t stride = 0, bytes = 0;
};

/// The one door to threads: a number of threads and the pool behind it, which copies share. Nothing
/// that goes through here may change a result: work is split by output, never inside a sum.
class Parallel {
 public:
  /// threads >= 1, the caller's among them; 0 means one per core that this process may use. Threads
  /// start with the first run that needs them; where the system refuses some, fewer do the work.
  explicit Parallel(int threads = 0);
  int threads() const { return threads_; }

  /// Calls body(task, worker) for every task in [0, tasks), tasks < 2^32, worker in [0, threads()).
  /// Tasks are handed out one by one in ascending order, and run() returns when all are done,
  /// whether or not every thread has come to take one: a busy machine does not make it wait. Called
  /// while another run of this pool is under way, it does all the work in the calling thread, as
  /// worker 0. The first exception thrown by a body is rethrown here; tasks not yet begun are then
  /// left out.
  void run(std::int64_t tasks, const TaskBody& body) const;

  /// From the next run on, threads that wait for the one after it fetch their part into their
  /// caches meanwhile, once: memory would idle while one thread does what lies between two runs.
  /// Announcing the same memory again right away does nothing. Nothing is read but by prefetching,
  /// so the memory may be gone by then.
  void read_ahead(const ReadAhead& ahead) const;

 private:
  class Pool;
  int threads_;
  std::shared_ptr<Pool> pool_;  // null for one thread
};

}  // namespace diffllama
