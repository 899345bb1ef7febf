#include "training/run_directory.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <iomanip>
#include <limits>
#include <sstream>
#include <string>

#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "checkpoint/safetensors/safetensors.h"
#include "checkpoint/test_files.h"
#include "diffllama/error.h"
#include "training/data/checksum.h"
#include "training/optimizer_state.h"
#include "training/trainer_state.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

ParameterLayout small_layout() {
  return ParameterLayout(
      std::vector<TensorSpec>{{.name = "a.weight", .gguf_name = "", .shape = {3, 5}},
                              {.name = "norm.weight", .gguf_name = "", .shape = {7}}});
}

/// A run of its own: values and moments that follow from the step alone.
class SmallRun {
 public:
  explicit SmallRun(std::int64_t step) {
    state.step = step;
    state.optimizer_steps = step;
    state.recipe = R"({"model": {}})";
    optimizer.set_steps(step);
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<float>(step) + static_cast<float>(i) / 3;
      optimizer.first_moment()[i] = -values[i];
      optimizer.second_moment()[i] = values[i] * 7;
    }
  }

  CheckpointContent content(bool with_values = true) {
    return {.state = state,
            .write_model =
                [](const fs::path& directory) {
                  write_file_atomically(directory / "config.json", "{}");
                  write_file_atomically(directory / "model.safetensors", std::string(5000, 'm'));
                },
            .optimizer = optimizer_tensors(layout, optimizer,
                                           with_values ? values : std::span<const float>())};
  }

  ParameterLayout layout = small_layout();
  AdamW optimizer{layout, {}};
  std::vector<float> values = std::vector<float>(static_cast<std::size_t>(layout.size()));
  TrainerState state;
};

std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    names.push_back(entry.path().filename());
  }
  std::ranges::sort(names);
  return names;
}

void flip_byte(const fs::path& file, std::streamoff where) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekg(where);
  const auto byte = static_cast<char>(stream.get() ^ 1);
  stream.seekp(where);
  stream.put(byte);
}

TEST(RunDirectory, GivesBackWhatWasSaved) {
  const TestDirectory scratch;
  const RunDirectory directory(scratch.path() / "a" / "run");
  EXPECT_FALSE(directory.newest({}).has_value());
  SmallRun run(12);
  run.state.tokens = std::int64_t{1} << 40;
  run.state.best_metric = 0.1;
  run.state.best_step = 8;
  run.state.examples = 96;
  run.state.evaluated_step = 11;
  run.state.mean_loss = 1.0 / 3;
  run.state.mean_count = 9;
  directory.save(run.content(), 0);

  const auto saved = directory.newest({});
  ASSERT_TRUE(saved.has_value());
  EXPECT_EQ(saved->path, directory.checkpoint(12));
  EXPECT_EQ(saved->state.step, 12);
  EXPECT_EQ(saved->state.optimizer_steps, 12);
  EXPECT_EQ(saved->state.tokens, std::int64_t{1} << 40);
  EXPECT_EQ(saved->state.best_metric, 0.1);
  EXPECT_EQ(saved->state.best_step, 8);
  EXPECT_EQ(saved->state.examples, 96);
  EXPECT_EQ(saved->state.evaluated_step, 11);
  EXPECT_EQ(saved->state.mean_loss, 1.0 / 3);
  EXPECT_EQ(saved->state.mean_count, 9);
  EXPECT_EQ(saved->state.recipe, R"({"model":{}})");
  SmallRun loaded(0);
  load_optimizer(saved->path, loaded.layout, loaded.optimizer, loaded.values);
  for (const ParameterSlot& slot : run.layout.slots()) {
    for (auto i = static_cast<std::size_t>(slot.offset);
         i < static_cast<std::size_t>(slot.offset + slot.size); ++i) {
      EXPECT_EQ(loaded.values[i], run.values[i]);
      EXPECT_EQ(loaded.optimizer.first_moment()[i], run.optimizer.first_moment()[i]);
      EXPECT_EQ(loaded.optimizer.second_moment()[i], run.optimizer.second_moment()[i]);
    }
  }
}

TEST(RunDirectory, ValuesMayLieInTheModelAlone) {
  const TestDirectory scratch;
  const RunDirectory directory(scratch.path());
  SmallRun run(3);
  CheckpointContent content = run.content(false);
  content.write_model = [&](const fs::path& path) {
    std::vector<TensorSource> tensors;
    for (const ParameterSlot& slot : run.layout.slots()) {
      const auto values =
          std::span(run.values)
              .subspan(static_cast<std::size_t>(slot.offset), static_cast<std::size_t>(slot.size));
      tensors.push_back(
          copied_tensor(slot.name, {DType::float32, slot.shape, std::as_bytes(values)}));
    }
    write_safetensors(path / "model.safetensors", tensors);
  };
  directory.save(content, 0);
  SmallRun loaded(0);
  load_optimizer(directory.checkpoint(3), loaded.layout, loaded.optimizer, loaded.values);
  EXPECT_EQ(loaded.values[4], run.values[4]);
  EXPECT_EQ(loaded.values[18], run.values[18]);
}

TEST(RunDirectory, KeepsTheLastAndTheBest) {
  const TestDirectory scratch;
  const RunDirectory directory(scratch.path());
  for (const std::int64_t step : {10, 20, 30, 40, 50}) {
    SmallRun run(step);
    if (step >= 20) run.state.best_step = 20;
    directory.save(run.content(), 2);
  }
  EXPECT_THAT(directory.steps(), ElementsAre(20, 40, 50));
  EXPECT_EQ(fs::read_symlink(scratch.path() / "last"), "checkpoint-50");
  EXPECT_EQ(fs::read_symlink(scratch.path() / "best"), "checkpoint-20");
  SmallRun run(60);
  run.state.best_step = 60;
  directory.save(run.content(), 1);
  EXPECT_THAT(directory.steps(), ElementsAre(60));
  EXPECT_THAT(names_in(scratch.path()), ElementsAre("best", "checkpoint-60", "last"));
  SmallRun more(70);
  directory.save(more.content(), 0);
  EXPECT_THAT(directory.steps(), ElementsAre(60, 70)) << "0: all are kept";
}

TEST(RunDirectory, AnEvaluationComesBehindItsCheckpoint) {
  const TestDirectory scratch;
  const RunDirectory directory(scratch.path());
  for (const std::int64_t step : {10, 20}) directory.save(SmallRun(step).content(), 2);
  const std::string weights = read_whole_file(directory.checkpoint(20) / "model.safetensors");
  TrainerState state = directory.newest({})->state;
  state.evaluated_step = state.best_step = 20;
  state.best_metric = 2.5;
  directory.update(state, 1);
  const auto saved = directory.newest({});
  ASSERT_TRUE(saved.has_value());
  EXPECT_EQ(saved->state.best_metric, 2.5);
  EXPECT_EQ(saved->state.evaluated_step, 20);
  EXPECT_EQ(read_whole_file(saved->path / "model.safetensors"), weights);
  EXPECT_EQ(fs::read_symlink(scratch.path() / "best"), "checkpoint-20");
  EXPECT_THAT(directory.steps(), ElementsAre(20));
}

TEST(RunDirectory, ADirectoryThatNothingCameIntoGoes) {
  const TestDirectory scratch;
  { const RunDirectory directory(scratch.path() / "runs" / "first"); }
  EXPECT_THAT(names_in(scratch.path()), IsEmpty());
  fs::create_directory(scratch.path() / "runs");
  {
    const RunDirectory directory(scratch.path() / "runs" / "second");
    directory.save(SmallRun(1).content(), 0);
  }
  { const RunDirectory directory(scratch.path() / "runs"); }
  EXPECT_THAT(names_in(scratch.path() / "runs"), ElementsAre("second"));
}

TEST(RunDirectory, HalfWrittenOnesAreNeitherSeenNorKept) {
  const TestDirectory scratch;
  fs::create_directories(scratch.path() / ".diffllama-0123456789abcdef.tmp" / "deep");
  fs::create_directories(scratch.path() / ".checkpoint-3.old.unfinished");
  fs::create_directories(scratch.path() / "checkpoint-007");
  fs::create_directories(scratch.path() / "checkpoint-x");
  const RunDirectory directory(scratch.path());
  EXPECT_THAT(directory.steps(), IsEmpty());
  EXPECT_THAT(names_in(scratch.path()), ElementsAre("checkpoint-007", "checkpoint-x"));
}

TEST(RunDirectory, BrokenOnesAreNamedAndPassedOver) {
  const TestDirectory scratch;
  const RunDirectory directory(scratch.path());
  for (const std::int64_t step : {1, 2}) directory.save(SmallRun(step).content(), 0);
  std::vector<std::string> warnings;
  const auto warn = [&](const std::string& text) { warnings.push_back(text); };
  const fs::path newest = directory.checkpoint(2);
  for (const char* name : {"model.safetensors", "optimizer.safetensors", "trainer_state.json"}) {
    SCOPED_TRACE(name);
    const auto middle = static_cast<std::streamoff>(fs::file_size(newest / name) / 2);
    flip_byte(newest / name, middle);
    warnings.clear();
    const auto saved = directory.newest(warn);
    ASSERT_TRUE(saved.has_value());
    EXPECT_EQ(saved->state.step, 1);
    EXPECT_THAT(warnings, ElementsAre(HasSubstr((newest / name).string())));
    flip_byte(newest / name, middle);
    EXPECT_EQ(directory.newest(warn)->state.step, 2);
  }
  fs::remove(newest / "config.json");
  EXPECT_EQ(directory.newest(warn)->state.step, 1);
  fs::resize_file(directory.checkpoint(1) / "model.safetensors", 10);
  EXPECT_THAT(refusal([&] { directory.newest({}); }),
              AllOf(HasSubstr("checkpoint-1/model.safetensors"),
                    HasSubstr("no other checkpoint is whole")));
  // The run that goes on from an older one puts a whole one in its place.
  directory.save(SmallRun(2).content(), 0);
  EXPECT_EQ(directory.newest({})->state.step, 2);
}

// Read by pieces of 16 MiB, so that a large checkpoint is never in memory as a whole.
TEST(RunDirectory, ChecksumsAreThoseOfTheWholeFile) {
  const TestDirectory scratch;
  std::string text((std::size_t{33} << 20) + 5, 'm');
  for (std::size_t i = 0; i < text.size(); i += 997) text[i] = static_cast<char>('a' + i % 23);
  write_file_atomically(scratch.path() / "large", text);
  Checksum whole;
  whole.add(text);
  std::ostringstream expected;
  expected << text.size() << ':' << std::hex << std::setw(16) << std::setfill('0') << whole.value();
  EXPECT_EQ(file_checksum(scratch.path() / "large"), expected.str());
}

TEST(RunDirectory, RenamedOnesAreRefused) {
  const TestDirectory scratch;
  const RunDirectory directory(scratch.path());
  directory.save(SmallRun(5).content(), 0);
  fs::rename(directory.checkpoint(5), directory.checkpoint(6));
  EXPECT_THAT(refusal([&] { directory.newest({}); }), HasSubstr("expected global_step 6, got 5"));
}

TEST(RunDirectory, TensorsThatDoNotFitAreNamed) {
  const TestDirectory scratch;
  const RunDirectory directory(scratch.path());
  SmallRun run(1);
  directory.save(run.content(), 0);
  const ParameterLayout other(
      std::vector<TensorSpec>{{.name = "a.weight", .gguf_name = "", .shape = {5, 3}}});
  AdamW optimizer(other, {});
  std::vector<float> values(16);
  EXPECT_THAT(refusal([&] { load_optimizer(directory.checkpoint(1), other, optimizer, values); }),
              HasSubstr("tensor exp_avg.a.weight: expected float32 [5, 3], got float32 [3, 5]"));
  const ParameterLayout more(
      std::vector<TensorSpec>{{.name = "b.weight", .gguf_name = "", .shape = {2}}});
  AdamW optimizer_of_more(more, {});
  EXPECT_THAT(
      refusal([&] { load_optimizer(directory.checkpoint(1), more, optimizer_of_more, values); }),
      HasSubstr("tensor exp_avg.b.weight: expected float32 [2], got no such tensor"));
}

// Fewer layers, say: their tensors fit, and the others would be gone with the next checkpoint.
TEST(RunDirectory, TensorsThatAreLeftOverAreRefused) {
  const TestDirectory scratch;
  const RunDirectory directory(scratch.path());
  directory.save(SmallRun(1).content(), 0);
  const ParameterLayout fewer(
      std::vector<TensorSpec>{{.name = "a.weight", .gguf_name = "", .shape = {3, 5}}});
  AdamW optimizer(fewer, {});
  std::vector<float> values(16);
  EXPECT_THAT(refusal([&] { load_optimizer(directory.checkpoint(1), fewer, optimizer, values); }),
              AllOf(HasSubstr("optimizer.safetensors: expected the tensors of the parameters"),
                    HasSubstr("\"exp_avg.norm.weight\", \"exp_avg_sq.norm.weight\", "
                              "\"master.norm.weight\"")));
}

// With checksums that are right: a state that was forged, or written by a program with a fault.
TEST(RunDirectory, NumbersThatNoRunReachesAreRefused) {
  TrainerState state;
  state.step = 5;
  state.recipe = R"({"training": {"batch_size": 4, "gradient_accumulation_steps": 2}})";
  const auto refused = [&](std::int64_t TrainerState::*member, std::int64_t value) {
    TrainerState forged = state;
    forged.*member = value;
    const std::string text = write_trainer_state(forged, {{"config.json", "2:0"}});
    return refusal([&] { parse_trainer_state(text, "state"); });
  };
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(refused(&TrainerState::step, kMost),
            "state: global_step: expected an integer from 0 to 9007199254740992, got "
            "9223372036854775807");
  EXPECT_THAT(refused(&TrainerState::step, -1), HasSubstr("state: global_step: "));
  EXPECT_THAT(refused(&TrainerState::examples, kMost), HasSubstr("num_examples_seen: "));
  EXPECT_THAT(refused(&TrainerState::tokens, -5), HasSubstr("num_input_tokens_seen: "));
  EXPECT_THAT(refused(&TrainerState::optimizer_steps, 6), HasSubstr("optimizer_steps: "));
  EXPECT_THAT(refused(&TrainerState::best_step, 6), HasSubstr("best_global_step: "));
  EXPECT_THAT(refused(&TrainerState::evaluated_step, 6), HasSubstr("last_evaluation_step: "));
  EXPECT_THAT(refused(&TrainerState::mean_count, 6), HasSubstr("mean_count: "));
}

// As versions wrote it that had no count of examples and evaluated before they saved.
TEST(RunDirectory, OlderStatesAreRead) {
  TrainerState state;
  state.step = 5;
  state.recipe = R"({"training": {"batch_size": 4, "gradient_accumulation_steps": 2}})";
  nlohmann::json fields = nlohmann::json::parse(write_trainer_state(state, {{"a", "2:0"}}));
  for (const char* field : {"num_examples_seen", "last_evaluation_step", "checksum"}) {
    fields.erase(field);
  }
  const std::string text = fields.dump();
  Checksum checksum;
  checksum.add(text);
  std::ostringstream sum;
  sum << text.size() << ':' << std::hex << std::setw(16) << std::setfill('0') << checksum.value();
  fields["checksum"] = sum.str();
  const TrainerState read = parse_trainer_state(fields.dump(), "state").state;
  EXPECT_EQ(read.examples, 40);
  EXPECT_EQ(read.evaluated_step, 5);
}

TEST(RunDirectory, HostileStatesAreRefused) {
  const TestDirectory scratch;
  const RunDirectory directory(scratch.path());
  for (const char* text : {"", "[]", "{}", R"({"global_step": 1})", R"({"files": {"../x": "1:0"}})",
                           "\xff", R"({"checksum": 5})"}) {
    fs::create_directories(directory.checkpoint(1));
    scratch.write("checkpoint-1/trainer_state.json", text);
    EXPECT_THAT(refusal([&] { directory.newest({}); }), HasSubstr("trainer_state.json")) << text;
  }
}

TEST(RunDirectory, TwoRunsDoNotShareADirectory) {
  const TestDirectory scratch;
  const RunDirectory directory(scratch.path());
  EXPECT_THAT(refusal([&] { const RunDirectory second(scratch.path()); }),
              HasSubstr("another run is writing to"));
}

TEST(RunDirectory, FullDiskLeavesThePreviousOneWhole) {
  const TestDirectory scratch;
  const RunDirectory directory(scratch.path());
  directory.save(SmallRun(1).content(), 1);
  // A file that cannot grow past 1000 bytes stands in for a disk without room.
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {1000, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string message = refusal([&] { directory.save(SmallRun(2).content(), 1); });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_THAT(message, HasSubstr("model.safetensors: cannot write: File too large"));
  EXPECT_EQ(directory.newest({})->state.step, 1);
  EXPECT_THAT(names_in(scratch.path()), ElementsAre("checkpoint-1", "last"));
}

// A child saves one checkpoint after the other and says so; it is killed at once, wherever it then
// is. Whatever it said was saved is there and whole.
TEST(RunDirectory, KillLeavesAWholeOne) {
  for (int round = 1; round <= 8; ++round) {
    const TestDirectory scratch;
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const RunDirectory directory(scratch.path());
      for (std::int64_t step = 1;; ++step) {
        directory.save(SmallRun(step).content(), 1);
        if (write(ends[1], "s", 1) != 1) _exit(1);
      }
    }
    close(ends[1]);
    char said = 0;
    for (int i = 0; i < round; ++i) ASSERT_EQ(read(ends[0], &said, 1), 1);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    std::int64_t last_said = round;
    while (read(ends[0], &said, 1) == 1) ++last_said;
    close(ends[0]);
    const RunDirectory directory(scratch.path());
    std::vector<std::string> warnings;
    const auto saved = directory.newest([&](const std::string& text) { warnings.push_back(text); });
    ASSERT_TRUE(saved.has_value());
    EXPECT_GE(saved->state.step, last_said);
    EXPECT_THAT(warnings, IsEmpty());
  }
}

}  // namespace
}  // namespace diffllama
