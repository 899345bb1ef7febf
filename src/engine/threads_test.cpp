// Requests are added and cancelled by other threads while one steps; the tsan preset watches it.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <mutex>
#include <random>
#include <string>
#include <thread>

#include "engine/test_requests.h"

namespace diffllama {
namespace {

TEST(StepLoopThreads, OthersAddAndCancelWhileOneSteps) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  const ModelConfig config = TestModel::small_config();
  const TestModel model(config, initial_parameters(config, 7), 2);
  StepLoop loop(model.forward_model(), model.parallel(),
                {.max_blocks = 6, .max_step_tokens = 40, .max_sequences = 4}, nullptr,
                [](const std::string&) {});
  constexpr int kThreads = 3;
  constexpr int kRequests = 12;
  std::map<RequestId, Request> requests;
  std::mutex mutex;
  std::atomic<int> adding = kThreads;
  const auto add = [&](unsigned number) {
    std::mt19937 random(seed + number);
    for (int i = 0; i < kRequests; ++i) {
      Request request;
      request.ids = random_ids(random, 1 + random() % 50, config.vocab_size);
      request.config.max_new_tokens = 1 + random() % 12;
      request.config.ignore_eos = true;
      request.logits = true;
      const RequestId id = loop.add(request);
      {
        const std::lock_guard lock(mutex);
        requests[id] = request;
      }
      if (random() % 3 == 0) loop.cancel(1 + random() % id);
      if (random() % 2 == 0) loop.wait(0.001);
      static_cast<void>(loop.counters());
    }
    --adding;
  };
  std::array<std::thread, kThreads> threads;
  for (unsigned i = 0; i < kThreads; ++i) threads.at(i) = std::thread(add, i);
  Collector seen;
  while (adding > 0 || loop.has_work()) {
    loop.wait(0.01);
    seen.take(loop.step());
  }
  for (std::thread& thread : threads) thread.join();
  seen.run(loop);
  ASSERT_EQ(seen.sequences().size(), static_cast<std::size_t>(kThreads * kRequests));
  for (const auto& [name, sequence] : seen.sequences()) {
    const SeenSequence alone = run_alone(model, requests.at(name.first), 0, CacheType::automatic);
    if (sequence.reason == StopReason::cancelled) {
      EXPECT_TRUE(sequence.begins(alone)) << name.first;
    } else {
      EXPECT_TRUE(sequence == alone) << name.first;
    }
  }
  EXPECT_EQ(loop.counters().blocks_used, 0);
}

}  // namespace
}  // namespace diffllama
