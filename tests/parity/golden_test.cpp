// Holds Model::forward to the outputs and gradients of transformers in tests/golden/forward, and to
// itself: the same bits however a prompt is cut, on any number of threads, alone or in a batch,
// cached or not.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "diffllama/model.h"
#include "parity/golden_files.h"

namespace diffllama::parity {
namespace {

// The issues' bounds: max |difference| over max |reference| of each output, of each gradient.
constexpr double kTolerance = 2e-5;
constexpr double kGradientTolerance = 1e-4;

Model load(const Golden& golden, int threads = 1, std::int64_t prefill_chunk = 512) {
  LoadOptions options;
  options.compute = ComputeType::float32;
  options.threads = threads;
  options.prefill_chunk = prefill_chunk;
  options.warn = [](const std::string&) {};
  return Model::from_pretrained(golden.checkpoint, options);
}

/// Is element `index` of the output in a row that both sides define? Outputs are [B, T, ...] (of
/// the last tokens only where the shape says so) or [B, H, T, S].
bool is_comparable(const Golden& golden, const std::string& name, const Shape& shape,
                   std::int64_t index) {
  const auto [batch, length] = batch_and_length(golden.inputs);
  const bool maps = name.rfind("attentions.", 0) == 0;
  const bool pooled = name == "logits" && shape.size() == 2;  // sequence classification
  if (name == "loss" || pooled) return true;
  const std::size_t axis = maps ? 2 : 1;
  std::int64_t inner = 1;
  for (std::size_t i = axis + 1; i < shape.size(); ++i) inner *= shape[i];
  const std::int64_t rows = shape[axis];
  const std::int64_t t = index / inner % rows + (length - rows);
  const std::int64_t b = index / inner / rows / (maps ? shape[1] : 1);
  return golden.comparable.at(static_cast<std::size_t>(b * length + t));
}

void expect_close(const Golden& golden, const std::string& name, const Tensor& got,
                  const Tensor& want) {
  ASSERT_EQ(got.shape(), want.shape()) << name;
  double scale = 0;
  double worst = 0;
  std::int64_t where = -1;
  std::int64_t compared = 0;
  for (std::int64_t i = 0; i < want.size(); ++i) {
    if (!is_comparable(golden, name, want.shape(), i)) continue;
    ++compared;
    const double w = want.f32()[static_cast<std::size_t>(i)];
    const double g = got.f32()[static_cast<std::size_t>(i)];
    if (std::isnan(w)) {  // the loss without a counted label
      EXPECT_TRUE(std::isnan(g)) << name << " is " << g << ", expected NaN";
      continue;
    }
    const double difference = std::abs(g - w);
    scale = std::max(scale, std::abs(w));
    if (!(difference <= worst)) {
      worst = difference;
      where = i;
    }
    if (std::isnan(worst)) break;
  }
  EXPECT_GT(compared, 0) << name;
  EXPECT_TRUE(worst <= kTolerance * scale)  // false for NaN
      << name << " " << to_string(want.shape()) << ": worst at element " << where << ", "
      << worst / scale << " of the largest reference value " << scale;
}

double largest_of(const Tensor& tensor) {
  double largest = 0;
  for (const float x : tensor.f32()) largest = std::max(largest, std::abs(double{x}));
  return largest;
}

/// `largest` is of all gradients: what is zero (as that of question answering's bias, a sum of
/// softmax - onehot) may be got as rounding, 1e-6 of it.
void expect_close_gradient(const std::string& name, const Tensor& got, const Tensor& want,
                           double largest) {
  ASSERT_EQ(got.shape(), want.shape()) << name;
  ASSERT_GT(want.size(), 0) << name;
  double scale = largest_of(want);
  if (scale == 0) scale = largest / 100;
  double worst = 0;
  std::size_t where = 0;
  for (std::size_t i = 0; i < want.f32().size(); ++i) {
    const double difference = std::abs(double{got.f32()[i]} - double{want.f32()[i]});
    if (difference <= worst) continue;
    worst = difference;  // NaN too
    where = i;
    if (std::isnan(worst)) break;
  }
  EXPECT_TRUE(worst <= kGradientTolerance * scale)  // false for NaN
      << name << " " << to_string(want.shape()) << ": worst at element " << where << ", got "
      << got.f32()[where] << " for " << want.f32()[where] << ", largest " << scale;
}

void expect_same_bits(const Tensors& got, const Tensors& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (const auto& [name, tensor] : want) {
    ASSERT_TRUE(got.count(name)) << what << ": no " << name;
    ASSERT_EQ(got.at(name).shape(), tensor.shape()) << what << ": " << name;
    EXPECT_EQ(
        std::memcmp(got.at(name).bytes().data(), tensor.bytes().data(), tensor.bytes().size()), 0)
        << what << ": " << name << " differs";
  }
}

class GoldenTest : public testing::TestWithParam<std::string> {
 protected:
  Golden golden_ = load_golden(GetParam());
};
class GoldenBatchTest : public GoldenTest {};
class GoldenCacheTest : public GoldenTest {};
class GoldenGradientTest : public GoldenTest {};

TEST_P(GoldenTest, MatchesTransformers) {
  const Tensors got = named(load(golden_).forward(golden_.inputs));
  for (const auto& [name, want] : golden_.outputs) {
    ASSERT_TRUE(got.count(name)) << name << " is missing";
    expect_close(golden_, name, got.at(name), want);
  }
  for (const auto& [name, tensor] : got) {
    EXPECT_TRUE(golden_.outputs.count(name)) << name << " was not asked for";
  }
}

TEST_P(GoldenGradientTest, MatchesTransformers) {
  golden_.inputs.output_gradients = true;
  double largest = 0;
  for (const auto& entry : golden_.gradients) {
    largest = std::max(largest, largest_of(entry.second));
  }
  Tensors want = golden_.outputs;
  want.insert(golden_.gradients.begin(), golden_.gradients.end());
  for (const int threads : {1, 3}) {
    SCOPED_TRACE(std::to_string(threads) + " threads");
    const Tensors got = named(load(golden_, threads).forward(golden_.inputs));
    for (const auto& [name, tensor] : want) {
      const auto found = got.find(name);
      ASSERT_TRUE(found != got.end()) << name << " is missing";
      if (golden_.gradients.contains(name)) {
        expect_close_gradient(name, found->second, tensor, largest);
      } else {
        expect_close(golden_, name, found->second, tensor);
      }
    }
    for (const auto& [name, tensor] : got) {
      EXPECT_TRUE(want.count(name)) << name << " was not asked for";
    }
  }
}

TEST_P(GoldenTest, SameBitsForAnyChunkAndThreads) {
  const Tensors want = named(load(golden_).forward(golden_.inputs));
  struct Way {
    int threads;
    std::int64_t chunk;
  };
  for (const Way way : {Way{2, 1}, Way{1, 7}, Way{2, 7}, Way{2, 64}}) {
    const Tensors got = named(load(golden_, way.threads, way.chunk).forward(golden_.inputs));
    expect_same_bits(
        got, want,
        "chunk " + std::to_string(way.chunk) + ", threads " + std::to_string(way.threads));
  }
}

TEST_P(GoldenBatchTest, SameBitsAlone) {
  const std::int64_t batch = batch_and_length(golden_.inputs).first;
  const Model model = load(golden_);
  Tensors together = named(model.forward(golden_.inputs));
  together.erase("loss");
  for (std::int64_t row = 0; row < batch; ++row) {
    Tensors want;
    for (const auto& [name, tensor] : together) {
      want.emplace(name, slice(tensor, 0, row, row + 1));
    }
    const Tensors got = named(model.forward(sequence_of(golden_.inputs, row)));
    expect_same_bits(got, want, "sequence " + std::to_string(row));
  }
}

/// The forward of tokens [begin, end) for a cache that holds [0, begin).
ForwardInputs piece_of(const ForwardInputs& inputs, std::int64_t begin, std::int64_t end) {
  ForwardInputs piece = inputs;
  for (auto* tensor : {&piece.input_ids, &piece.inputs_embeds, &piece.position_ids}) {
    if (*tensor) **tensor = slice(**tensor, 1, begin, end);
  }
  if (piece.attention_mask) piece.attention_mask = slice(*piece.attention_mask, 1, 0, end);
  return piece;
}

/// Rows [begin, end) of the outputs of one whole forward, as a cached forward of them gives them:
/// the maps end at key `end`.
Tensors rows_of(const Tensors& outputs, std::int64_t begin, std::int64_t end) {
  Tensors rows;
  for (const auto& [name, tensor] : outputs) {
    const bool maps = name.rfind("attentions.", 0) == 0;
    Tensor part = slice(tensor, maps ? 2 : 1, begin, end);
    rows.emplace(name, maps ? slice(part, 3, 0, end) : std::move(part));
  }
  return rows;
}

TEST_P(GoldenCacheTest, SameBitsThroughACache) {
  const Model model = load(golden_);
  ForwardInputs inputs = golden_.inputs;
  inputs.labels.reset();
  inputs.logits_to_keep = 0;

  const auto [batch, length] = batch_and_length(inputs);
  const Tensors want = named(model.forward(inputs));
  for (const std::int64_t step : {std::int64_t{1}, std::int64_t{5}, std::max(length - 1, 1L)}) {
    KVCache cache = model.make_cache(batch);
    for (std::int64_t begin = 0; begin < length; begin += step) {
      const std::int64_t end = std::min(begin + step, length);
      const Tensors got = named(model.forward(piece_of(inputs, begin, end), &cache));
      expect_same_bits(got, rows_of(want, begin, end),
                       "tokens " + std::to_string(begin) + " to " + std::to_string(end) +
                           " in steps of " + std::to_string(step));
      ASSERT_EQ(cache.length(), end);
    }
  }
}

bool has_gradients(const Golden& golden) { return !golden.gradients.empty(); }

bool is_batch(const Golden& golden) { return batch_and_length(golden.inputs).first > 1; }

/// Restarts or jumps, which separate packed sequences only where there is no cache.
bool is_packed(const ForwardInputs& inputs) {
  if (!inputs.position_ids || inputs.attention_mask) return false;
  const auto positions = inputs.position_ids->i64();
  const auto length = static_cast<std::size_t>(inputs.position_ids->shape().at(1));
  for (std::size_t i = 0; i < positions.size(); ++i) {
    if (i % length != 0 && positions[i] != positions[i - 1] + 1) return true;
  }
  return false;
}

/// Where a cache is promised the bits of one forward: outputs for each token, frequencies that do
/// not follow the prompt's length, no look ahead by a 4-D mask, no packed sequences.
bool fits_a_cache(const Golden& golden) {
  const auto& mask = golden.inputs.attention_mask;
  const bool may_look_ahead = mask && mask->shape().size() == 4;
  return golden.for_each_token && !golden.length_dependent && !may_look_ahead &&
         !is_packed(golden.inputs);
}

std::vector<std::string> names_where(bool (*fits)(const Golden&)) {
  std::vector<std::string> names;
  for (const std::string& name : golden_names()) {
    if (fits(load_golden(name))) names.push_back(name);
  }
  return names;
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

TEST(Goldens, AreThoseListed) { EXPECT_EQ(stored_golden_names(), golden_names()); }

INSTANTIATE_TEST_SUITE_P(Forward, GoldenTest, testing::ValuesIn(golden_names()), test_name);
INSTANTIATE_TEST_SUITE_P(Forward, GoldenBatchTest, testing::ValuesIn(names_where(is_batch)),
                         test_name);
INSTANTIATE_TEST_SUITE_P(Forward, GoldenCacheTest, testing::ValuesIn(names_where(fits_a_cache)),
                         test_name);
INSTANTIATE_TEST_SUITE_P(Forward, GoldenGradientTest, testing::ValuesIn(names_where(has_gradients)),
                         test_name);

}  // namespace
}  // namespace diffllama::parity
