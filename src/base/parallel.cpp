#include "base/parallel.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace diffllama {
namespace {

int available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Rounds of pause() before a thread sleeps: some tens of microseconds, longer than the gap between
// two regions of a decoded token, short enough that a waiting thread does not keep others from a
// core.
constexpr int kSpins = 1000;

}  // namespace

// One job at a time. `state_` holds the job's number (upper half) and the tasks left (lower half);
// a task is claimed by taking one off in a single exchange, so a thread that comes late, with an
// old state in hand, claims nothing. The job's own fields are read only after a claim, while run()
// cannot return.
class Parallel::Pool {
 public:
  explicit Pool(int threads) : threads_(threads) {}
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() {
    wake_ |= kStop;
    wake_.notify_all();
    for (std::thread& thread : workers_) thread.join();
  }

  void read_ahead(const ReadAhead& ahead) {
    ahead_data_.store(reinterpret_cast<std::uintptr_t>(ahead.data), std::memory_order_relaxed);
    ahead_stride_.store(ahead.stride, std::memory_order_relaxed);
    ahead_bytes_.store(ahead.bytes, std::memory_order_relaxed);
  }

  void run(std::int64_t tasks, const TaskBody& body) {
    const std::unique_lock busy(mutex_, std::try_to_lock);
    if (!busy) {
      for (std::int64_t task = 0; task < tasks; ++task) body(task, 0);
      return;
    }
    start();
    body_ = &body;
    tasks_ = tasks;
    completed_ = 0;
    failed_ = false;
    state_.store((++job_ << 32) | static_cast<std::uint64_t>(tasks), std::memory_order_release);
    wake_ += kNextJob;
    wake_.notify_all();
    work(0);
    for (int spin = 0; spin < kSpins && completed_ != static_cast<std::uint32_t>(tasks); ++spin)
      pause();
    for (std::uint32_t done = completed_; done != static_cast<std::uint32_t>(tasks);
         done = completed_) {
      completed_.wait(done);
    }
    if (failed_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

 private:
  void start() {
    if (started_) return;
    started_ = true;
    try {
      for (int worker = 1; worker < threads_; ++worker) {
        workers_.emplace_back([this, worker] { serve(worker); });
      }
    } catch (const std::system_error&) {
      // The threads that did start share the work.
    }
  }

  // Takes tasks of the current job until none is left.
  void work(int worker) {
    std::uint64_t state = state_.load(std::memory_order_acquire);
    while ((state & kTasksLeft) != 0) {
      if (!state_.compare_exchange_weak(state, state - 1, std::memory_order_acq_rel,
                                        std::memory_order_acquire)) {
        continue;
      }
      const std::int64_t tasks = tasks_;
      if (!failed_) perform(tasks - static_cast<std::int64_t>(state & kTasksLeft), worker);
      // The last touch of this job: after it run() may return.
      if (++completed_ == static_cast<std::uint32_t>(tasks)) completed_.notify_one();
      state = state_.load(std::memory_order_acquire);
    }
  }

  void perform(std::int64_t task, int worker) {
    try {
      (*body_)(task, worker);
    } catch (...) {
      const std::lock_guard lock(failure_mutex_);
      if (!failure_) failure_ = std::current_exception();
      failed_ = true;
    }
  }

  void serve(int worker) {
    Fetched fetched;
    for (std::uint32_t seen = wake_; (seen & kStop) == 0; seen = wake_) {
      work(worker);
      fetch_ahead(worker, seen, fetched);
      for (int spin = 0; spin < kSpins && wake_ == seen; ++spin) pause();
      wake_.wait(seen);
    }
  }

  struct Fetched {  // of what was announced last, by one thread
    std::uintptr_t data = 0;
    std::size_t bytes = 0;
  };

  // Until the next job comes; then goes on where it stopped, so that nothing is fetched twice. The
  // three numbers may belong to different calls: then what is fetched is useless, no more.
  void fetch_ahead(int worker, std::uint32_t seen, Fetched& fetched) const {
    constexpr std::size_t kLine = 64;
    constexpr std::size_t kAtATime = 8 * kLine;
    const std::uintptr_t data =
        ahead_data_.load(std::memory_order_relaxed) +
        static_cast<std::size_t>(worker) * ahead_stride_.load(std::memory_order_relaxed);
    const std::size_t bytes = ahead_bytes_.load(std::memory_order_relaxed);
    if (fetched.data != data) fetched = {.data = data, .bytes = 0};
    for (; fetched.bytes < bytes && wake_ == seen; fetched.bytes += kAtATime) {
      for (std::size_t line = 0; line < kAtATime; line += kLine) {
        // NOLINTNEXTLINE(performance-no-int-to-ptr): as below
        __builtin_prefetch(reinterpret_cast<const void*>(data + fetched.bytes + line), 0, 2);
      }
    }
  }

  static constexpr std::uint64_t kTasksLeft = 0xFFFFFFFF;  // of state_
  static constexpr std::uint32_t kStop = 1, kNextJob = 2;  // of wake_

  const int threads_;
  std::mutex mutex_;  // held by the run under way
  bool started_ = false;
  std::vector<std::thread> workers_;
  std::uint64_t job_ = 0;

  const TaskBody* body_ = nullptr;
  std::int64_t tasks_ = 0;
  std::mutex failure_mutex_;
  std::exception_ptr failure_;

  // A number, since pointers may not be computed outside of what they point to.
  std::atomic<std::uintptr_t> ahead_data_{0};
  std::atomic<std::size_t> ahead_stride_{0}, ahead_bytes_{0};

  alignas(64) std::atomic<std::uint64_t> state_{0};
  alignas(64) std::atomic<std::uint32_t> completed_{0};
  // What threads wait for: changes with every job. That the pool stops is a bit of it, so that a
  // thread cannot see the one and miss the other.
  alignas(64) std::atomic<std::uint32_t> wake_{0};
  std::atomic<bool> failed_{false};
};

Parallel::Parallel(int threads) : threads_(threads > 0 ? threads : available_cores()) {
  if (threads_ > 1) pool_ = std::make_shared<Pool>(threads_);
}

void Parallel::read_ahead(const ReadAhead& ahead) const {
  if (pool_ != nullptr) pool_->read_ahead(ahead);
}

void Parallel::run(std::int64_t tasks, const TaskBody& body) const {
  assert(tasks < std::int64_t{1} << 32);
  if (pool_ == nullptr || tasks <= 1) {
    for (std::int64_t task = 0; task < tasks; ++task) body(task, 0);
    return;
  }
  pool_->run(tasks, body);
}

}  // namespace diffllama
