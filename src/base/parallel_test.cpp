#include "base/parallel.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

namespace diffllama {
namespace {

TEST(Parallel, RunsEveryTaskOnce) {
  for (const int threads : {1, 2, 5}) {
    const Parallel parallel(threads);
    std::vector<std::atomic<int>> seen(101);
    parallel.run(101, [&](std::int64_t task, int worker) {
      ASSERT_GE(worker, 0);
      ASSERT_LT(worker, threads);
      ++seen[static_cast<std::size_t>(task)];
    });
    for (const auto& count : seen) EXPECT_EQ(count, 1);
  }
}

TEST(Parallel, NoTasksAndOneTask) {
  const Parallel parallel(2);
  parallel.run(0, [](std::int64_t, int) { FAIL(); });
  int runs = 0;
  parallel.run(1, [&](std::int64_t, int) { ++runs; });
  EXPECT_EQ(runs, 1);
}

// Whatever is announced is only prefetched: memory that is gone, or was never there, does no harm.
TEST(Parallel, ReadsAheadOfAnyMemory) {
  constexpr std::size_t kBytes = std::size_t{1} << 20;
  for (const int threads : {1, 3}) {
    const Parallel parallel(threads);
    auto memory = std::make_unique<std::byte[]>(kBytes);
    const ReadAhead announced[] = {{.data = memory.get(), .stride = 4096, .bytes = kBytes / 2},
                                   {},
                                   {.data = nullptr, .stride = SIZE_MAX, .bytes = kBytes}};
    memory.reset();
    for (const ReadAhead& ahead : announced) {
      parallel.read_ahead(ahead);
      for (int round = 0; round < 100; ++round) {
        std::atomic<int> done{0};
        parallel.run(4, [&](std::int64_t, int) { ++done; });
        ASSERT_EQ(done, 4);
      }
    }
  }
}

TEST(Parallel, RethrowsFromAWorker) {
  const Parallel parallel(2);
  EXPECT_THROW(parallel.run(50,
                            [](std::int64_t task, int) {
                              if (task == 20) throw std::runtime_error("task 20");
                            }),
               std::runtime_error);
}

TEST(Parallel, WorksAfterAFailureAndManyTimes) {
  const Parallel parallel(3);
  for (int round = 0; round < 2000; ++round) {
    const std::int64_t tasks = round % 9;
    std::atomic<std::int64_t> sum{0};
    const auto body = [&](std::int64_t task, int) {
      if (round % 100 == 50 && task == 3) throw std::runtime_error("task 3");
      sum += task + 1;
    };
    if (round % 100 == 50 && tasks > 3) {
      EXPECT_THROW(parallel.run(tasks, body), std::runtime_error);
    } else {
      parallel.run(tasks, body);
      ASSERT_EQ(sum, tasks * (tasks + 1) / 2);
    }
  }
}

TEST(Parallel, ARunInsideARunAndRunsOfSeveralThreadsAreDone) {
  const Parallel parallel(3);
  std::atomic<int> runs{0};
  parallel.run(4, [&](std::int64_t, int) { parallel.run(5, [&](std::int64_t, int) { ++runs; }); });
  EXPECT_EQ(runs, 20);
  std::thread other([&] {
    for (int i = 0; i < 500; ++i) parallel.run(4, [&](std::int64_t, int) { ++runs; });
  });
  for (int i = 0; i < 500; ++i) parallel.run(4, [&](std::int64_t, int) { ++runs; });
  other.join();
  EXPECT_EQ(runs, 20 + 4000);
}

TEST(Parallel, CopiesShareAndOutliveTheFirst) {
  auto first = std::make_unique<Parallel>(2);
  const Parallel second = *first;
  first.reset();
  std::atomic<int> runs{0};
  second.run(10, [&](std::int64_t, int) { ++runs; });
  EXPECT_EQ(runs, 10);
}

// Unmapping memory interrupts the other threads of a process, at whatever instruction they are: one
// that had looked whether to stop, and not yet which job was the last, once slept for ever, in one
// of some 200000 pools.
TEST(Parallel, PoolsEndWhereverTheirThreadsAre) {
  constexpr std::size_t kPage = 4096;
  for (int round = 0; round < 20000; ++round) {
    const Parallel parallel(2);
    for (int run = 0; run < 2; ++run) {
      void* const memory =
          mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      ASSERT_NE(memory, MAP_FAILED);
      parallel.run(4, [&](std::int64_t task, int) {
        static_cast<char*>(memory)[static_cast<std::size_t>(task) * kPage] = 1;
      });
      ASSERT_EQ(munmap(memory, 4 * kPage), 0);
    }
  }
}

TEST(Parallel, ZeroMeansEveryCore) { EXPECT_GE(Parallel(0).threads(), 1); }

}  // namespace
}  // namespace diffllama
