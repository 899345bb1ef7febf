// Whatever runs beside a request, its logits are those of running it alone: random schedules of
// requests that come, go and are cancelled, with little memory, beams,
// guidance and speculation among them.
// DIFFLLAMA_SCHEDULES says how many schedules (50), DIFFLLAMA_SCHEDULE_SEED the first one's seed.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <optional>
#include <random>
#include <string>

#include "engine/test_requests.h"

namespace diffllama {
namespace {

std::int64_t pick(std::mt19937& random, std::int64_t first, std::int64_t last) {
  return std::uniform_int_distribution<std::int64_t>(first, last)(random);
}

template <class T>
T one_of(std::mt19937& random, std::initializer_list<T> values) {
  return values.begin()[pick(random, 0, std::ssize(values) - 1)];
}

// Models are few, since making them takes longer than running them.
const TestModel& model_of(std::int64_t kind) {
  static std::map<std::int64_t, std::unique_ptr<TestModel>> models;
  std::unique_ptr<TestModel>& model = models[kind];
  if (!model) {
    ModelConfig config = TestModel::small_config();
    config.num_key_value_heads = kind % 2 == 0 ? 2 : 4;
    config.model_type = kind % 3 == 0 ? ModelType::llama : ModelType::diffllama;
    if (kind == 2) {  // frequencies that follow the length
      config.rope.type = RopeType::dynamic;
      config.rope.factor = 4;
      config.max_position_embeddings = 300;
    } else {
      config.max_position_embeddings = 4096;
    }
    model = std::make_unique<TestModel>(config, initial_parameters(config, 7),
                                        kind % 2 == 0 ? 1 : 2, kind == 3 ? 37 : 512);
  }
  return *model;
}

class Schedule {
 public:
  explicit Schedule(unsigned seed)
      : random_(seed),
        model_(model_of(pick(random_, 0, 3))),
        type_(one_of(random_, {CacheType::f32, CacheType::bf16, CacheType::q8_0})),
        assistant_(pick(random_, 0, 2) == 0 ? &model_of(pick(random_, 0, 3)) : nullptr),
        loop_(
            model_.forward_model(), model_.parallel(), options(), nullptr, [](const auto&) {},
            assistant_model()) {
    for (auto& root : roots_) root = random_ids(random_, 900, model_.config().vocab_size);
  }

  void run() {
    const std::int64_t requests = pick(random_, 3, 9);
    std::int64_t steps = 0;
    while (std::ssize(requests_) < requests || loop_.has_work()) {
      if (std::ssize(requests_) < requests && pick(random_, 0, 3) == 0) add();
      if (!requests_.empty() && pick(random_, 0, 29) == 0) {
        loop_.cancel(static_cast<RequestId>(pick(random_, 1, std::ssize(requests_))));
      }
      seen_.take(loop_.step());
      check_memory();
      ASSERT_LT(++steps, 20000) << "a request starves";
    }
    check_results();
    check_leaks();
  }

  EngineCounters counters() const { return loop_.counters(); }

 private:
  SchedulerOptions options() {
    max_blocks_ = pick(random_, 3, 9);
    max_sequences_ = pick(random_, 1, 6);
    const auto max_step_tokens = one_of<std::int64_t>(random_, {5, 64, 200, 700});
    most_ = std::min(max_sequences_, max_step_tokens);
    max_beams_ = std::min(most_, std::int64_t{4});
    return {.max_blocks = max_blocks_,
            .max_step_tokens = max_step_tokens,
            .max_sequences = max_sequences_,
            .prefix_cache = pick(random_, 0, 3) != 0,
            .prefix_hash_bits = one_of(random_, {64, 1}),
            .cache_type = type_};
  }

  const ForwardModel* assistant_model() {
    if (assistant_ == nullptr) return nullptr;
    assistant_model_.emplace(assistant_->forward_model());
    return &*assistant_model_;
  }

  // The beginning of one of few texts, so that prompts share blocks, then something of its own.
  void add() {
    Request request;
    const std::int64_t room = std::min<std::int64_t>(max_blocks_ * kCacheBlockKeys, 850);
    const auto& root = roots_.at(static_cast<std::size_t>(pick(random_, 0, 1)));
    request.ids.assign(root.begin(), root.begin() + pick(random_, 1, room - 60));
    const auto tail = random_ids(random_, pick(random_, 0, 20), model_.config().vocab_size);
    request.ids.insert(request.ids.end(), tail.begin(), tail.end());
    request.config.max_new_tokens = pick(random_, 1, 40);
    request.config.eos_token_ids = {3};
    request.config.seed = static_cast<std::uint64_t>(pick(random_, 0, 3));
    request.config.do_sample = pick(random_, 0, 1) == 1;
    if (request.config.do_sample) request.config.num_return_sequences = pick(random_, 1, 3);
    if (max_beams_ > 1 && pick(random_, 0, 3) == 0) {
      request.config.num_beams = pick(random_, 2, max_beams_);
      request.config.num_return_sequences = pick(random_, 1, request.config.num_beams);
      request.config.length_penalty = one_of(random_, {0.0, 1.0, 2.0});
      request.config.early_stopping =
          one_of(random_, {EarlyStopping::no, EarlyStopping::yes, EarlyStopping::never});
    }
    const std::int64_t guided = 2 * request.config.num_return_sequences;
    if (request.config.num_beams == 1 && guided <= most_ && pick(random_, 0, 3) == 0) {
      request.config.guidance_scale = one_of(random_, {0.0, 1.5, 3.0});
      request.config.negative_prompt_ids =
          random_ids(random_, pick(random_, 0, room - 60), model_.config().vocab_size);
    }
    if (pick(random_, 0, 2) == 0) request.config.prompt_lookup_num_tokens = pick(random_, 1, 8);
    request.config.assistant_confidence_threshold = one_of(random_, {0.0, 0.3});
    request.priority = static_cast<int>(pick(random_, 0, 2));
    request.logits = true;
    if (pick(random_, 0, 4) == 0) request.prompt_logprobs = 0;
    requests_.push_back(request);
    ASSERT_EQ(loop_.add(request), requests_.size());
  }

  void check_memory() {
    const EngineCounters counters = loop_.counters();
    ASSERT_LE(counters.blocks_used + counters.blocks_kept, max_blocks_);
  }

  void check_results() {
    ASSERT_TRUE(seen_.refusals().empty()) << seen_.refusals().begin()->second;
    for (const auto& [name, seen] : seen_.sequences()) {
      ASSERT_TRUE(seen.reason) << "request " << name.first << " has no end";
      const Request& request = requests_[name.first - 1];
      const SeenSequence alone = request.config.num_beams == 1
                                     ? run_alone(model_, request, name.second, type_)
                                     : beams_alone(name.first, name.second);
      if (*seen.reason == StopReason::cancelled) {
        ASSERT_TRUE(seen.begins(alone)) << "request " << name.first << " was cancelled";
      } else {
        ASSERT_TRUE(seen == alone)
            << "request " << name.first << ", sequence " << name.second << ", "
            << request.ids.size() << " tokens in, " << seen.ids.size() << " out";
      }
    }
  }

  SeenSequence beams_alone(RequestId id, std::int64_t rank) {
    if (beams_of_ != id) beams_ = run_beams_alone(model_, requests_[id - 1], type_);
    beams_of_ = id;
    return beams_.at(static_cast<std::size_t>(rank));
  }

  void check_leaks() {
    EXPECT_EQ(loop_.counters().blocks_used, 0);
    loop_.clear_prefix_cache();
    EXPECT_EQ(loop_.counters().blocks_kept, 0);
  }

  std::mt19937 random_;
  const TestModel& model_;
  CacheType type_;
  std::int64_t max_blocks_ = 0, max_sequences_ = 0, most_ = 0, max_beams_ = 0;
  const TestModel* assistant_;
  std::optional<ForwardModel> assistant_model_;
  StepLoop loop_;
  std::array<std::vector<std::int64_t>, 2> roots_;
  std::vector<Request> requests_;
  Collector seen_;
  RequestId beams_of_ = 0;  // the request that beams_ are of
  std::vector<SeenSequence> beams_;
};

std::int64_t setting(const char* name, std::int64_t otherwise) {
  const char* text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nothing sets it
  return text == nullptr ? otherwise : std::stoll(text);
}

TEST(RandomSchedules, GiveTheBitsOfEachRequestAlone) {
  const std::int64_t count = setting("DIFFLLAMA_SCHEDULES", 50);
  const auto first =
      static_cast<unsigned>(setting("DIFFLLAMA_SCHEDULE_SEED", std::random_device()()));
  std::int64_t preemptions = 0;
  std::int64_t hits = 0;
  std::int64_t drafted = 0;
  std::int64_t accepted = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const unsigned seed = first + static_cast<unsigned>(i);
    SCOPED_TRACE("DIFFLLAMA_SCHEDULE_SEED=" + std::to_string(seed));
    Schedule schedule(seed);
    schedule.run();
    if (testing::Test::HasFailure()) return;
    preemptions += schedule.counters().preemptions;
    hits += schedule.counters().prefix_hit_tokens;
    drafted += schedule.counters().drafted_tokens;
    accepted += schedule.counters().accepted_tokens;
  }
  if (count < 50) return;
  EXPECT_GT(preemptions, 0);
  EXPECT_GT(hits, 0);
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, drafted);
}

}  // namespace
}  // namespace diffllama
