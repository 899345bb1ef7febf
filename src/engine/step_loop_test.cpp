#include "engine/step_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <random>
#include <thread>

#include "diffllama/error.h"
#include "diffllama/logits_processor.h"
#include "engine/test_requests.h"

namespace diffllama {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using Ids = std::vector<std::int64_t>;

std::unique_ptr<TestModel> make_model(std::int64_t max_position_embeddings = 8192) {
  ModelConfig config = TestModel::small_config();
  config.max_position_embeddings = max_position_embeddings;
  return std::make_unique<TestModel>(config, initial_parameters(config, 7));
}

class StepLoopTest : public testing::Test {
 protected:
  StepLoop make_loop(const SchedulerOptions& options) {
    return {model_->forward_model(), model_->parallel(), options, nullptr,
            [](const std::string&) {}};
  }
  Request request(std::int64_t length, std::int64_t max_new_tokens, unsigned seed = 1) {
    std::mt19937 random(seed);
    Request request;
    request.ids = random_ids(random, length, model_->config().vocab_size);
    request.config.max_new_tokens = max_new_tokens;
    request.config.ignore_eos = true;
    request.logits = true;
    return request;
  }
  SeenSequence alone(const Request& request, std::int64_t number = 0) {
    return run_alone(*model_, request, number, CacheType::automatic);
  }

  std::unique_ptr<TestModel> model_ = make_model();
  Collector seen_;
};

TEST_F(StepLoopTest, ALongPromptIsCutAndNeverHoldsAStreamUp) {
  StepLoop loop = make_loop({.max_blocks = 20, .max_step_tokens = 64});
  const Request stream = request(10, 60);
  const Request prompt = request(2000, 3, 2);
  const RequestId first = loop.add(stream);
  seen_.take(loop.step());
  const RequestId second = loop.add(prompt);
  std::int64_t steps = 0;
  while (seen_.sequences().size() < 2) {
    const std::int64_t before = loop.counters().prompt_tokens;
    const StepEvents& events = loop.step();
    EXPECT_LE(loop.counters().prompt_tokens - before, 64);
    ++steps;
    if (std::ssize(seen_.sequence(first).ids) < 60) {
      EXPECT_TRUE(std::ranges::any_of(
          events.tokens, [&](const NewToken& token) { return token.request == first; }))
          << "step " << steps;
    }
    seen_.take(events);
  }
  EXPECT_GT(steps, (2000 + 62) / 63);  // the further in, the fewer tokens are a step's work
  seen_.run(loop);
  EXPECT_EQ(seen_.sequence(first), alone(stream));
  EXPECT_EQ(seen_.sequence(second), alone(prompt));
}

TEST_F(StepLoopTest, AWarmPrefixIsSharedBlockByBlock) {
  StepLoop loop = make_loop({.max_blocks = 20});
  const Request cold = request(700, 5);
  loop.add(cold);
  seen_.run(loop);
  EXPECT_EQ(loop.counters().blocks_kept, 2);
  Request warm = cold;
  warm.ids[600] = (warm.ids[600] + 1) % 61;  // in the third block
  const RequestId id = loop.add(warm);
  std::int64_t cached = 0;
  while (loop.has_work()) {
    const StepEvents& events = loop.step();
    for (const PromptResult& prompt : events.prompts) cached = prompt.cached_tokens;
    seen_.take(events);
  }
  EXPECT_EQ(cached, 512);
  EXPECT_EQ(loop.counters().prefix_hit_tokens, 512);
  EXPECT_EQ(loop.counters().prompt_tokens, 700 + 188);
  EXPECT_EQ(seen_.sequence(id), alone(warm));
  const RequestId again = loop.add(cold);
  const RequestId beside = loop.add(cold);
  seen_.take(loop.step());
  EXPECT_EQ(loop.counters().blocks_shared, 2);
  seen_.run(loop);
  EXPECT_EQ(seen_.sequence(again), alone(cold));
  EXPECT_EQ(seen_.sequence(beside), alone(cold));
  EXPECT_EQ(loop.counters().blocks_used, 0);
}

TEST_F(StepLoopTest, APromptOfFullBlocksStillRunsItsLastToken) {
  StepLoop loop = make_loop({.max_blocks = 20});
  const Request whole = request(512, 4);
  loop.add(whole);
  seen_.run(loop);
  const RequestId id = loop.add(whole);
  seen_.run(loop);
  EXPECT_EQ(seen_.sequence(id), alone(whole));
  EXPECT_EQ(loop.counters().prefix_hit_tokens, 256);
}

TEST_F(StepLoopTest, TheLeastUrgentGivesItsMemoryUpAndIsRecomputed) {
  for (const bool prefix : {false, true}) {
    seen_ = {};
    StepLoop loop = make_loop({.max_blocks = 4, .prefix_cache = prefix});
    const Request low = request(250, 200);
    Request high = request(500, 200, 3);
    high.priority = 1;
    const RequestId first = loop.add(low);
    for (int i = 0; i < 20; ++i) seen_.take(loop.step());
    const RequestId second = loop.add(high);
    seen_.run(loop);
    EXPECT_GE(loop.counters().preemptions, 1);
    EXPECT_EQ(seen_.sequence(first), alone(low));
    EXPECT_EQ(seen_.sequence(second), alone(high));
    EXPECT_EQ(loop.counters().blocks_used, 0);
  }
}

TEST_F(StepLoopTest, OneThatNeedsABlockTakesItFromTheLatest) {
  StepLoop loop = make_loop({.max_blocks = 5, .prefix_cache = false});
  std::vector<Request> requests;
  for (unsigned i = 0; i < 3; ++i) {
    requests.push_back(request(200, 500, i));
    loop.add(requests.back());
  }
  seen_.run(loop);
  EXPECT_GE(loop.counters().preemptions, 1);
  for (RequestId id = 1; id <= 3; ++id) EXPECT_EQ(seen_.sequence(id), alone(requests[id - 1]));
}

TEST_F(StepLoopTest, PriorityThenArrivalAndNobodyStarves) {
  StepLoop loop = make_loop({.max_blocks = 20, .max_sequences = 1});
  const RequestId low = loop.add(request(5, 3));
  Request urgent = request(5, 3);
  urgent.priority = 1;
  const RequestId high = loop.add(urgent);
  seen_.take(loop.step());
  EXPECT_EQ(seen_.sequences().begin()->first.first, high);
  // While more urgent ones keep coming.
  std::int64_t steps = 0;
  while (!seen_.sequences().contains({low, 0})) {
    if (steps % 3 == 0) loop.add(urgent);
    seen_.take(loop.step());
    ASSERT_LT(++steps, 2000);
  }
  EXPECT_GE(steps, 250);
}

TEST_F(StepLoopTest, SequencesOfOneRequestForkWhereItsPromptEnds) {
  StepLoop loop = make_loop({.max_blocks = 20, .max_sequences = 3});
  Request many = request(300, 30);
  many.config.do_sample = true;
  many.config.num_return_sequences = 5;  // more than may run
  many.logprobs = 2;
  const RequestId id = loop.add(many);
  while (seen_.sequences().empty()) seen_.take(loop.step());
  EXPECT_EQ(seen_.sequences().size(), 5U) << "the prompt's logits give each its first token";
  EXPECT_EQ(loop.counters().blocks_shared, 2);
  seen_.run(loop);
  for (std::int64_t number = 0; number < 5; ++number) {
    EXPECT_EQ(seen_.sequence(id, number), alone(many, number)) << number;
  }
  EXPECT_EQ(loop.counters().blocks_used, 0);
}

TEST_F(StepLoopTest, BeamsShareTheirPromptAndGetOnWithMemoryForOne) {
  Request beams = request(500, 40);
  beams.config.ignore_eos = false;
  beams.config.eos_token_ids = {5, 6};
  beams.config.num_beams = 4;
  beams.config.num_return_sequences = 4;
  beams.config.early_stopping = EarlyStopping::never;
  beams.config.length_penalty = 2;
  beams.logprobs = 1;
  const std::vector<SeenSequence> alone = run_beams_alone(*model_, beams, CacheType::automatic);
  for (const std::int64_t max_blocks : {3, 5, 20}) {
    seen_ = {};
    StepLoop loop = make_loop({.max_blocks = max_blocks, .max_sequences = 5});
    const RequestId id = loop.add(beams);
    const Request beside = request(20, 60, 4);
    const RequestId other = loop.add(beside);
    std::int64_t shared = 0;
    std::int64_t steps = 0;
    while (loop.has_work()) {
      seen_.take(loop.step());
      shared = std::max(shared, loop.counters().blocks_shared);
      ASSERT_LT(++steps, 5000);
    }
    for (std::int64_t rank = 0; rank < 4; ++rank) {
      EXPECT_EQ(seen_.sequence(id, rank), alone[static_cast<std::size_t>(rank)]) << rank;
    }
    EXPECT_EQ(seen_.sequence(other), run_alone(*model_, beside, 0, CacheType::automatic));
    EXPECT_GE(shared, 1);
    EXPECT_EQ(loop.counters().blocks_used, 0);
    if (max_blocks == 3) {
      EXPECT_GT(loop.counters().preemptions, 0);
    }
  }
}

TEST_F(StepLoopTest, BeamsAreCancelledTogetherAndRefusedWhereTheyCannotRun) {
  StepLoop loop = make_loop({.max_blocks = 20, .max_sequences = 3});
  Request beams = request(20, 40);
  beams.config.num_beams = 3;
  beams.config.num_return_sequences = 2;
  const RequestId id = loop.add(beams);
  for (int i = 0; i < 5; ++i) seen_.take(loop.step());
  EXPECT_EQ(loop.counters().running, 3);
  loop.cancel(id);
  const StepEvents& events = loop.step();
  EXPECT_EQ(events.endings.size(), 2U);
  seen_.take(events);
  EXPECT_EQ(loop.counters().blocks_used, 0);
  EXPECT_FALSE(loop.has_work());
  beams.config.num_beams = 4;
  EXPECT_THAT([&] { loop.add(beams); },
              ThrowsMessage<InvalidArgument>(HasSubstr("expected at most the 3 sequences")));
}

TEST_F(StepLoopTest, GuessesThatAreRightSaveSteps) {
  Request plain = request(40, 60);
  const ForwardModel assistant = model_->forward_model();
  StepLoop loop(
      model_->forward_model(), model_->parallel(), {.max_blocks = 20}, nullptr,
      [](const std::string&) {}, &assistant);
  plain.config.num_assistant_tokens = 8;
  plain.config.assistant_confidence_threshold = 0;
  const RequestId id = loop.add(plain);
  seen_.run(loop);
  EXPECT_EQ(seen_.sequence(id), alone(plain));
  EXPECT_LT(loop.counters().steps, 20);  // the model guesses itself
  EXPECT_EQ(loop.counters().accepted_tokens, loop.counters().drafted_tokens);
  EXPECT_EQ(loop.counters().blocks_used, 0);
}

TEST_F(StepLoopTest, CancellingFreesWithinTheStep) {
  StepLoop loop = make_loop({.max_blocks = 20, .prefix_cache = false});
  const RequestId running = loop.add(request(300, 1000));
  const RequestId other = loop.add(request(20, 10));
  seen_.take(loop.step());
  const RequestId waiting = loop.add(request(20, 10));
  loop.cancel(running);
  loop.cancel(waiting);
  loop.cancel(12345);
  const StepEvents& events = loop.step();
  EXPECT_EQ(loop.counters().blocks_used, 1);
  EXPECT_EQ(loop.counters().running, 1);
  for (const NewToken& token : events.tokens) EXPECT_EQ(token.request, other);
  seen_.take(events);
  EXPECT_EQ(seen_.sequence(running).reason, StopReason::cancelled);
  EXPECT_EQ(seen_.sequence(waiting).reason, StopReason::cancelled);
  seen_.run(loop);
  EXPECT_EQ(seen_.sequence(other).reason, StopReason::length);
  loop.cancel(other);  // over: nothing happens
  EXPECT_TRUE(loop.step().endings.empty());
}

TEST_F(StepLoopTest, CancellingEndsTheSequencesThatWereToCome) {
  StepLoop loop = make_loop({.max_blocks = 20, .max_step_tokens = 64});
  Request three = request(300, 10);
  three.config.do_sample = true;
  three.config.num_return_sequences = 3;
  const RequestId begun = loop.add(three);
  seen_.take(loop.step());
  const RequestId waiting = loop.add(three);
  loop.cancel(begun);
  loop.cancel(waiting);
  std::vector<std::int64_t> endings(3);
  for (const Ending& ending : loop.step().endings) {
    EXPECT_EQ(ending.reason, StopReason::cancelled);
    ++endings.at(static_cast<std::size_t>(ending.sequence));
  }
  EXPECT_EQ(endings, Ids({2, 2, 2}));
  EXPECT_FALSE(loop.has_work());
}

TEST_F(StepLoopTest, CancellingAnIdThatIsNobodysYetIsForgotten) {
  StepLoop loop = make_loop({.max_blocks = 20});
  loop.cancel(1);
  EXPECT_FALSE(loop.has_work());
  const RequestId id = loop.add(request(5, 3));
  seen_.run(loop);
  EXPECT_EQ(seen_.sequence(id).reason, StopReason::length);
}

// However urgent those are that keep coming.
TEST_F(StepLoopTest, NobodyStarvesBesideTheLargestPriority) {
  StepLoop loop = make_loop({.max_blocks = 20, .max_sequences = 1});
  Request idle = request(5, 1);
  idle.priority = std::numeric_limits<int>::min();
  const RequestId low = loop.add(idle);
  Request urgent = request(5, 1);
  urgent.priority = std::numeric_limits<int>::max();
  for (std::int64_t steps = 0; !seen_.sequences().contains({low, 0}); ++steps) {
    ASSERT_LT(steps, 256 * 34);
    loop.add(urgent);
    seen_.take(loop.step());
  }
}

TEST_F(StepLoopTest, WaitsAsLongAsItIsTold) {
  StepLoop loop = make_loop({.max_blocks = 20});
  for (const double none : {0.0, -1.0, std::nan("")}) loop.wait(none);
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    loop.add(request(5, 1));
  });
  loop.wait(1e18);
  EXPECT_TRUE(loop.has_work());
  other.join();
}

TEST_F(StepLoopTest, AProcessorsOwnExceptionsTakeTheirRequestOff) {
  struct Broken : LogitsProcessor {
    void process(std::span<const std::int64_t> /*ids*/, std::span<float> /*scores*/) override {
      throw 5;  // NOLINT(hicpp-exception-baseclass): what a caller may do
    }
  };
  struct Long : LogitsProcessor {
    void process(std::span<const std::int64_t> /*ids*/, std::span<float> /*scores*/) override {
      throw Error("two\nlines");
    }
  };
  StepLoop loop = make_loop({.max_blocks = 20});
  Request broken = request(5, 3);
  broken.config.logits_processors = {std::make_shared<Broken>()};
  Request spoken = request(5, 3);
  spoken.config.logits_processors = {std::make_shared<Long>()};
  const RequestId first = loop.add(broken);
  const RequestId second = loop.add(spoken);
  seen_.run(loop);
  EXPECT_THAT(seen_.refusals().at(first), HasSubstr("std::exception"));
  EXPECT_THAT(seen_.refusals().at(second), HasSubstr("two\\u000alines"));
}

TEST_F(StepLoopTest, RefusesWhatCanNeverFitWithBothSizes) {
  StepLoop loop = make_loop({.max_blocks = 2});
  EXPECT_NO_THROW(loop.add(request(500, 13)));
  EXPECT_THAT([&] { loop.add(request(500, 14)); },
              ThrowsMessage<InvalidArgument>(
                  AllOf(HasSubstr("512 tokens ("), HasSubstr("up to 513 tokens ("))));
  EXPECT_THAT([&] { loop.add(request(0, 14)); },
              ThrowsMessage<InvalidArgument>(HasSubstr("at least one token")));
  Request odd = request(1, 1);
  odd.logprobs = 62;
  EXPECT_THAT([&] { loop.add(odd); },
              ThrowsMessage<InvalidArgument>(HasSubstr("logprobs: expected 0..61, got 62")));
  EXPECT_THAT([&] { blocks_in(model_->forward_model().stack, CacheType::f32, 100); },
              ThrowsMessage<InvalidArgument>(HasSubstr("got 100")));
}

TEST_F(StepLoopTest, GivesLogprobsAndHiddenStatesOfAPromptCutAnywhere) {
  Request wanted = request(300, 1);
  wanted.prompt_logprobs = 3;
  wanted.logprobs = 1;
  wanted.hidden_states = PromptStates::all;
  std::vector<float> logprobs;
  std::vector<float> states;
  for (const std::int64_t step_tokens : {512, 50, 7}) {
    StepLoop loop = make_loop({.max_blocks = 8, .max_step_tokens = step_tokens});
    loop.add(wanted);
    PromptResult result;
    while (loop.has_work()) {
      const StepEvents& events = loop.step();
      if (!events.prompts.empty()) result = events.prompts.front();
      for (const NewToken& token : events.tokens) {
        ASSERT_TRUE(token.logprobs);
        EXPECT_EQ(token.logprobs->top.front().id, token.id);
        EXPECT_EQ(token.logprobs->top.front().logprob, token.logprobs->logprob);
      }
    }
    ASSERT_EQ(result.logprobs.size(), 299U);
    std::vector<float> found;
    for (const TokenLogprobs& token : result.logprobs) {
      found.push_back(token.logprob);
      EXPECT_EQ(token.top.size(), 3U);
      EXPECT_GE(token.top[0].logprob, token.top[1].logprob);
    }
    if (logprobs.empty()) logprobs = found;
    EXPECT_EQ(found, logprobs);
    ASSERT_EQ(result.hidden_states.shape(), (Shape{300, 24}));
    const auto all = result.hidden_states.f32();
    if (states.empty()) states.assign(all.begin(), all.end());
    EXPECT_TRUE(std::ranges::equal(all, states));
  }
  // The first row's logits, told by another way.
  Request first = wanted;
  first.ids.resize(1);
  const SeenSequence seen = alone(first);
  double sum = 0;
  for (const float logit : seen.logits[0]) sum += std::exp(double{logit});
  const float logit = seen.logits[0][static_cast<std::size_t>(wanted.ids[1])];
  EXPECT_NEAR(logprobs[0], logit - std::log(sum), 1e-5);
}

TEST_F(StepLoopTest, RunsAPromptAlone) {
  StepLoop loop = make_loop({.max_blocks = 8, .max_step_tokens = 64});
  Request prompt = request(200, 1);
  prompt.prompt_only = true;
  prompt.hidden_states = PromptStates::last;
  loop.add(prompt);
  PromptResult result;
  while (loop.has_work()) {
    const StepEvents& events = loop.step();
    EXPECT_TRUE(events.tokens.empty());
    if (!events.prompts.empty()) result = events.prompts.front();
    seen_.take(events);
  }
  EXPECT_EQ(result.hidden_states.shape(), (Shape{1, 24}));
  EXPECT_EQ(seen_.sequence(1).reason, StopReason::length);
  // Its config says nothing.
  for (const std::int64_t odd : {std::numeric_limits<std::int64_t>::max(), std::int64_t{-100}}) {
    Request other = request(300, odd);
    other.prompt_only = true;
    other.config.max_length = odd;
    const RequestId id = loop.add(other);
    seen_.run(loop);
    EXPECT_EQ(seen_.sequence(id).reason, StopReason::length);
  }
}

TEST_F(StepLoopTest, ANaNTakesItsOwnRequestOffAlone) {
  Parameters parameters = initial_parameters(model_->config(), 1);
  Parameter& embeddings = parameters.at("model.embed_tokens.weight");
  embeddings.read_row = [row_of = embeddings.read_row](std::int64_t row, std::span<float> out) {
    row_of(row, out);
    if (row == 60) out[0] = std::numeric_limits<float>::quiet_NaN();
  };
  model_ = std::make_unique<TestModel>(model_->config(), parameters);
  StepLoop loop = make_loop({.max_blocks = 8});
  Request good = request(20, 5);
  for (std::int64_t& id : good.ids) id %= 60;
  good.config.eos_token_ids = {60};
  good.config.ignore_eos = false;
  good.config.min_new_tokens = 5;
  Request bad = good;
  bad.ids[3] = 60;
  loop.add(good);
  const RequestId id = loop.add(bad);
  bad.prompt_only = true;
  bad.prompt_logprobs = 2;
  const RequestId prompt = loop.add(bad);
  seen_.run(loop);
  EXPECT_THAT(seen_.refusals().at(id), HasSubstr("got NaN"));
  EXPECT_THAT(seen_.refusals().at(prompt), HasSubstr("got NaN"));
  EXPECT_EQ(seen_.sequence(1), alone(good));
  EXPECT_EQ(loop.counters().blocks_used, 0);
}

}  // namespace
}  // namespace diffllama
