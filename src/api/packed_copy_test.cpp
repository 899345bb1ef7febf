#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/test_files.h"
#include "diffllama/model.h"
#include "model/load_weights.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::size_t kHeaderBytes = 64;

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// A copy of the GGUF golden, or a directory, and what loading it with a packed copy gives.
class PackedCopyTest : public testing::TestWithParam<bool> {
 protected:
  PackedCopyTest() {
    const fs::path golden = fs::path(DIFFLLAMA_SOURCE_DIR) / "tests/golden/gguf/diffllama.gguf";
    model_ = directory_.path() / (GetParam() ? "model" : "model.gguf");
    if (GetParam()) {
      fs::create_directory(model_);
      Model::from_pretrained(golden).save_pretrained(model_);
    } else {
      fs::copy_file(golden, model_);
    }
  }

  fs::path copy(const std::string& type = "float32") const {
    return GetParam() ? model_ / ("model.packed-" + type)
                      : directory_.path() / ("model.gguf.packed-" + type);
  }

  /// Logits of some tokens; warnings go to warnings_.
  std::vector<float> logits(bool packed_copy, ComputeType compute = ComputeType::float32) {
    warnings_.clear();
    LoadOptions options;
    options.threads = 2;
    options.compute = compute;
    options.packed_copy = packed_copy;
    options.warn = [this](const std::string& warning) { warnings_.push_back(warning); };
    const Model model = Model::from_pretrained(model_, options);
    ForwardInputs inputs;
    std::vector<std::int64_t> ids(9);
    std::iota(ids.begin(), ids.end(), 1);
    inputs.input_ids = Tensor::from(ids, {1, 9});
    const ForwardOutput output = model.forward(inputs);
    const auto values = output.logits->f32();
    return {values.begin(), values.end()};
  }

  /// What is there is not used: a warning says so, the logits stay, and the copy is whole again.
  void expect_made_anew(const std::string& whole, const std::string& warning) {
    const std::vector<float> expected = logits(false);
    EXPECT_EQ(logits(true), expected);
    EXPECT_THAT(warnings_, ElementsAre(AllOf(HasSubstr(copy().string()), HasSubstr(warning),
                                             HasSubstr("made anew"))));
    EXPECT_TRUE(read_whole_file(copy()) == whole);
    EXPECT_EQ(logits(true), expected);
    EXPECT_THAT(warnings_, IsEmpty());
  }

  TestDirectory directory_;
  fs::path model_;
  std::vector<std::string> warnings_;
};

TEST_P(PackedCopyTest, IsWrittenOnceAndGivesTheSameBits) {
  for (const auto& [compute, name] :
       {std::pair{ComputeType::float32, "float32"}, std::pair{ComputeType::bfloat16, "bfloat16"}}) {
    const std::vector<float> expected = logits(false, compute);
    EXPECT_FALSE(fs::exists(copy(name)));
    EXPECT_EQ(logits(true, compute), expected);
    const fs::file_time_type written = fs::last_write_time(copy(name));
    EXPECT_EQ(logits(true, compute), expected);
    EXPECT_THAT(warnings_, IsEmpty());
    EXPECT_EQ(fs::last_write_time(copy(name)), written);
  }
}

TEST_P(PackedCopyTest, ItsPanelsAreWhatIsComputedWith) {
  const std::vector<float> expected = logits(true);
  const auto checkpoint = std::make_shared<const Checkpoint>(Checkpoint::open(model_));
  const Parameters parameters = stored_parameters(checkpoint);
  const PackedFileSpec spec = packed_copy_spec(*checkpoint, parameters, ProductType::float32);
  std::vector<std::vector<std::byte>> zeros;
  for (const PackedBlock& block : spec) zeros.emplace_back(block.bytes);
  const std::vector<std::span<const std::byte>> blocks(zeros.begin(), zeros.end());
  write_packed_file(copy(), spec, blocks, Parallel(1));
  EXPECT_NE(logits(true), expected);
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_P(PackedCopyTest, IsMadeAnewWhereAnyByteIsDamaged) {
  logits(true);
  const std::string whole = read_whole_file(copy());
  constexpr std::uint64_t kSeed = 14;
  std::mt19937_64 random(kSeed);
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  for (int i = 0; i < 100; ++i) {
    const std::size_t at = kHeaderBytes + random() % (whole.size() - kHeaderBytes);
    SCOPED_TRACE("byte " + std::to_string(at));
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
    directory_.write(fs::relative(copy(), directory_.path()), bytes);
    expect_made_anew(whole, "expected ");
  }
}

TEST_P(PackedCopyTest, IsMadeAnewWhereAnyByteOfItsHeaderDiffers) {
  logits(true);
  const std::string whole = read_whole_file(copy());
  const std::string name = fs::relative(copy(), directory_.path());
  for (std::size_t i = 0; i < kHeaderBytes; ++i) {
    SCOPED_TRACE(i);
    std::string bytes = whole;
    bytes[i] = static_cast<char>(bytes[i] ^ (i % 2 == 0 ? 0x01 : 0x80));
    directory_.write(name, bytes);
    expect_made_anew(whole, i < 8    ? "expected a packed copy (DLPACKED), got another file"
                            : i < 12 ? "expected version 2 of packed copies, got "
                            : i < 24 ? "got one with other matrices"
                            : i < 32 ? " by its header"
                                     : "expected zeros at the end of the header");
  }
}

TEST_P(PackedCopyTest, IsMadeAnewWhereItsSizeDiffers) {
  logits(true);
  const std::string whole = read_whole_file(copy());
  const std::string name = fs::relative(copy(), directory_.path());
  for (const std::size_t size : {std::size_t{0}, std::size_t{63}}) {
    directory_.write(name, whole.substr(0, size));
    expect_made_anew(whole, "expected a packed copy of at least 64 bytes, got ");
  }
  for (const std::size_t size : {std::size_t{64}, whole.size() - 1, whole.size() + 1}) {
    std::string bytes = whole;
    bytes.resize(size);
    directory_.write(name, bytes);
    expect_made_anew(
        whole, "expected " + std::to_string(whole.size()) + " bytes, got " + std::to_string(size));
  }
}

// A change that nothing but the weights themselves shows: rebuilt images and `rsync -t` keep sizes
// and times.
TEST_P(PackedCopyTest, IsMadeAnewWhereAnyWeightChanged) {
  logits(true);
  const fs::path weights = GetParam() ? model_ / "model.safetensors" : model_;
  const std::string whole = read_whole_file(weights);
  const fs::file_time_type time = fs::last_write_time(weights);
  constexpr std::uint64_t kSeed = 1;
  std::mt19937_64 random(kSeed);
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::size_t made_anew = 0;
  for (int i = 0; i < 40; ++i) {
    const std::size_t at = whole.size() / 2 + random() % (whole.size() / 2);
    SCOPED_TRACE("byte " + std::to_string(at));
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    directory_.write(fs::relative(weights, directory_.path()), bytes);
    fs::last_write_time(weights, time);
    const std::vector<float> expected = logits(false);
    EXPECT_TRUE(same_bits(logits(true), expected));
    if (!warnings_.empty()) {
      EXPECT_THAT(warnings_, ElementsAre(HasSubstr("got one of other weights: ")));
      ++made_anew;
    }
  }
  EXPECT_GT(made_anew, 20U) << "most of the file is matrices";
}

TEST_P(PackedCopyTest, IsKeptWhereOnlyTheTimeChanged) {
  logits(true);
  const fs::path weights = GetParam() ? model_ / "model.safetensors" : model_;
  fs::last_write_time(weights, fs::last_write_time(weights) + std::chrono::seconds(1));
  logits(true);
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_P(PackedCopyTest, WhatCannotBeReplacedIsLeftAlone) {
  const std::vector<float> expected = logits(false);
  fs::create_directory(copy());
  EXPECT_EQ(logits(true), expected);
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("expected a file, got a directory; it is made anew"),
                                     HasSubstr("there is no packed copy")));
  EXPECT_TRUE(fs::is_directory(copy()));
}

INSTANTIATE_TEST_SUITE_P(Of, PackedCopyTest, testing::Bool(), [](const auto& directory) {
  return directory.param ? "Directory" : "File";
});

}  // namespace
}  // namespace diffllama
