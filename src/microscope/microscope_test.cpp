#include "diffllama/microscope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <png.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "diffllama/error.h"
#include "microscope/glyphs.h"
#include "microscope/measures.h"

namespace diffllama {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using Ids = std::vector<std::int64_t>;
using nlohmann::json;

const std::string kTiny = DIFFLLAMA_SOURCE_DIR "/models/diffllama-tiny";

Model open(const std::string& path, std::int64_t prefill_chunk = 512, int threads = 1) {
  LoadOptions options;
  options.compute = ComputeType::float32;
  options.threads = threads;
  options.prefill_chunk = prefill_chunk;
  options.warn = [](const std::string&) {};
  return Model::from_pretrained(path, options);
}

std::string golden_model(const std::string& name) {
  return DIFFLLAMA_SOURCE_DIR "/tests/golden/forward/" + name;
}

json golden() {
  std::ifstream file(DIFFLLAMA_SOURCE_DIR "/tests/golden/microscope.json");
  return json::parse(file);
}

Ids random_ids(std::mt19937& rng, std::size_t count, std::int64_t vocab_size) {
  Ids ids(count);
  for (std::int64_t& id : ids) id = static_cast<std::int64_t>(rng() % vocab_size);
  return ids;
}

std::vector<float> map_of(const Tensor& attentions, std::int64_t head) {
  const std::int64_t size = attentions.shape()[2] * attentions.shape()[3];
  const auto first = attentions.f32().begin() + head * size;
  return {first, first + size};
}

std::vector<float> values(const Tensor& tensor) {
  return {tensor.f32().begin(), tensor.f32().end()};
}

void expect_near(const LargestValues& got, const json& want) {
  const double tolerance = 2e-5 * want["top_1"].get<double>();
  EXPECT_NEAR(got.top_1, want["top_1"], tolerance);
  EXPECT_NEAR(got.top_2, want["top_2"], tolerance);
  EXPECT_NEAR(got.top_3, want["top_3"], tolerance);
  EXPECT_NEAR(got.top_10, want["top_10"], tolerance);
  EXPECT_NEAR(got.top_100, want["top_100"], tolerance);
  EXPECT_NEAR(got.median, want["median"], tolerance);
}

void expect_near(const AttentionShare& got, const json& want) {
  EXPECT_NEAR(got.answer, want["answer"], 1e-4);
  EXPECT_NEAR(got.bos, want["bos"], 1e-4);
  EXPECT_NEAR(got.rest, want["rest"], 1e-4);
}

void expect_near(const Tensor& map, const json& want) {
  const std::int64_t tokens = map.shape()[0];
  ASSERT_EQ(want.size(), static_cast<std::size_t>(tokens));
  for (std::int64_t i = 0; i < map.size(); ++i) {
    const float number =
        want[static_cast<std::size_t>(i / tokens)][static_cast<std::size_t>(i % tokens)];
    ASSERT_NEAR(map.f32()[static_cast<std::size_t>(i)], number, 2e-5) << i;
  }
}

// tools/make_microscope_goldens.py
TEST(Microscope, EqualsTransformers) {
  const json want = golden();
  const Tokenizer tokenizer = Tokenizer::from_pretrained(kTiny);
  const std::string text = want["text"];
  const Encoding encoding = tokenizer.encode(text);
  ASSERT_EQ(encoding.ids, want["ids"].get<Ids>());
  MicroscopeOptions options;
  options.answer = find_answer(text, want["answer"].get<std::string>(), encoding);
  EXPECT_EQ(options.answer->begin, want["answer_tokens"][0]);
  EXPECT_EQ(options.answer->end, want["answer_tokens"][1]);
  const AttentionReport report = attention_report(open(kTiny), tokenizer, encoding.ids, options);
  ASSERT_EQ(report.layers.size(), want["layers"].size());
  EXPECT_EQ(report.tokens[0], "<s>");
  for (std::size_t l = 0; l < report.layers.size(); ++l) {
    const AttentionLayer& layer = report.layers[l];
    const json& expected = want["layers"][l];
    ASSERT_EQ(layer.heads.size(), expected["difference"].size());
    for (std::size_t p = 0; p < layer.heads.size(); ++p) {
      SCOPED_TRACE("layer " + std::to_string(l) + ", head " + std::to_string(p));
      const AttentionHead& head = layer.heads[p];
      expect_near(head.first, expected["attentions"][p]);
      expect_near(head.second, expected["attentions"][p + layer.heads.size()]);
      expect_near(head.difference, expected["difference"][p]);
      EXPECT_NEAR(head.lambda[0], expected["lambda"], 1e-5);
      expect_near(head.measures.first.last_token, expected["shares"]["first"][p]);
      expect_near(head.measures.difference.last_token, expected["shares"]["difference"][p]);
      EXPECT_NEAR(head.measures.difference.entropy, expected["entropy"][p], 1e-4);
      EXPECT_NEAR(head.measures.difference.negative_mass, expected["negative_mass"][p], 1e-4);
    }
    expect_near(layer.attention_logits, expected["attention_logits"]);
    expect_near(layer.hidden_states, expected["hidden_states"]);
  }
  expect_near(report.attention_logits, want["attention_logits"]);
  expect_near(report.hidden_states, want["hidden_states"]);
}

// Every member: the maps are forward's own bits, whatever the model's chunks and threads.
TEST(Microscope, MapsAreForwards) {
  for (const char* name :
       {"diffllama_causal", "diffllama_group2_head10", "llama_causal", "llama_qk_norm", "llama_dex",
        "v1_causal", "v1_odd_group", "v1_pairs", "v2_causal", "v2_three_key_heads", "motif_pairs",
        "motif_grouped", "motif_base"}) {
    SCOPED_TRACE(name);
    const Model model = open(golden_model(name), 7, 2);
    std::mt19937 rng(5);
    const Ids ids = random_ids(rng, 23, model.config().vocab_size);
    const AttentionReport report = attention_report(model, ids);
    ForwardInputs inputs;
    inputs.input_ids = Tensor::from(std::span<const std::int64_t>(ids), {1, 23});
    inputs.output_attentions = true;
    const ForwardOutput output = model.forward(inputs);
    ASSERT_EQ(report.layers.size(), output.attentions.size());
    std::size_t maps = 0;
    for (std::size_t l = 0; l < report.layers.size(); ++l) {
      for (const AttentionHead& head : report.layers[l].heads) {
        ASSERT_EQ(head.query_heads.size(), static_cast<std::size_t>(report.maps));
        EXPECT_EQ(values(head.first), map_of(output.attentions[l], head.query_heads[0]));
        ++maps;
        if (report.maps == 1) continue;
        EXPECT_EQ(values(head.second), map_of(output.attentions[l], head.query_heads[1]));
        for (std::size_t i = 0; i < values(head.first).size(); ++i) {
          const double want =
              values(head.first)[i] - double{head.lambda[i / 23]} * values(head.second)[i];
          ASSERT_NEAR(head.difference.f32()[i], want, 1e-7);
        }
      }
    }
    EXPECT_GE(maps, report.layers.size());
  }
}

// V2: lambda of the first layer from its parameters, by token and head.
TEST(Microscope, LambdaByTokenIsTheGateOfTheNormedInput) {
  const Model model = open(golden_model("v2_causal"));
  const Ids ids = {3, 1, 4, 15};
  const AttentionReport report = attention_report(model, ids);
  const Tensor embeddings = model.parameter("model.embed_tokens.weight");
  const Tensor norm = model.parameter("model.layers.0.input_layernorm.weight");
  const Tensor gate = model.parameter("model.layers.0.self_attn.lambda_proj.weight");
  const auto width = static_cast<std::size_t>(gate.shape()[1]);
  for (std::size_t p = 0; p < report.layers[0].heads.size(); ++p) {
    for (std::size_t t = 0; t < ids.size(); ++t) {
      double squares = 0;
      double sum = 0;
      for (std::size_t c = 0; c < width; ++c) {
        const double x = embeddings.f32()[static_cast<std::size_t>(ids[t]) * width + c];
        squares += x * x;
        sum += x * norm.f32()[c] * gate.f32()[p * width + c];
      }
      const double scale =
          1 / std::sqrt(squares / static_cast<double>(width) + model.config().rms_norm_eps);
      EXPECT_NEAR(report.layers[0].heads[p].lambda[t], 1 / (1 + std::exp(-sum * scale)), 1e-5);
    }
  }
}

TEST(Microscope, TellsTheLambdaOfDex) {
  const Model model = open(golden_model("llama_dex"));
  const AttentionReport report = attention_report(model, Ids{3, 1, 4, 15}, {.keep_maps = false});
  const json said = json::parse(to_json(report));
  std::size_t told = 0;
  for (const DexHeads& dex : model.config().dex) {
    const auto layer = static_cast<std::size_t>(dex.layer);
    const Tensor lambda =
        model.parameter("model.layers." + std::to_string(dex.layer) + ".self_attn.dex_lambda");
    for (std::size_t i = 0; i < dex.heads.size(); ++i) {
      const auto head = static_cast<std::size_t>(dex.heads[i]);
      EXPECT_EQ(report.layers[layer].heads[head].dex_lambda, lambda.f32()[i]);
      EXPECT_EQ(said["layers"][layer]["heads"][head]["dex_lambda"], lambda.f32()[i]);
      ++told;
    }
  }
  EXPECT_GT(told, 0U);
  std::size_t having = 0;
  for (const AttentionLayer& layer : report.layers) {
    for (const AttentionHead& head : layer.heads) having += head.dex_lambda ? 1U : 0U;
  }
  EXPECT_EQ(having, told);
}

TEST(Microscope, KeepsTheMapsThatAreAskedFor) {
  const Model model = open(golden_model("diffllama_causal"));
  const Ids ids = {3, 1, 4, 1, 5};
  const AttentionReport all = attention_report(model, ids);
  const AttentionReport one = attention_report(model, ids, {.layer = 1, .head = 0});
  const AttentionReport none = attention_report(model, ids, {.keep_maps = false});
  for (std::size_t l = 0; l < all.layers.size(); ++l) {
    for (std::size_t p = 0; p < all.layers[l].heads.size(); ++p) {
      EXPECT_FALSE(all.layers[l].heads[p].difference.empty());
      EXPECT_EQ(one.layers[l].heads[p].first.empty(), l != 1 || p != 0);
      EXPECT_TRUE(none.layers[l].heads[p].first.empty());
      EXPECT_EQ(none.layers[l].heads[p].measures.first.entropy,
                all.layers[l].heads[p].measures.first.entropy);
    }
  }
  EXPECT_EQ(to_tensors(one).size(), 5U);
  EXPECT_EQ(values(to_tensors(one).at("layers.1.heads.0.difference")),
            values(all.layers[1].heads[0].difference));
}

TEST(Microscope, SharesEntropyAndNegativeMassByHand) {
  // Rows: 1; 0.5 -0.25; 0.25 0.5 -0.25
  const std::vector<float> map = {1, 9, 9, 0.5F, -0.25F, 9, 0.25F, 0.5F, -0.25F};
  const MapMeasures measures = measure_map(map, 3, TokenSpan{1, 2});
  EXPECT_DOUBLE_EQ(measures.last_token.answer, 0.5);
  EXPECT_DOUBLE_EQ(measures.last_token.bos, 0.25);
  EXPECT_DOUBLE_EQ(measures.last_token.rest, -0.25);
  EXPECT_DOUBLE_EQ(measures.after_answer.answer, 0.5);  // the last row alone
  EXPECT_DOUBLE_EQ(measures.negative_mass, (0 + 1.0 / 3 + 0.25) / 3);
  const double second = -(2.0 / 3 * std::log(2.0 / 3) + 1.0 / 3 * std::log(1.0 / 3));
  const double third = -(0.5 * std::log(0.25) + 0.5 * std::log(0.5));
  EXPECT_NEAR(measures.entropy, (second + third) / 3, 1e-12);
  EXPECT_DOUBLE_EQ(measure_map(map, 3, {}).after_answer.bos, (1 + 2.0 / 3 + 0.25) / 3);
  const std::vector<float> zeros(4);
  EXPECT_EQ(measure_map(zeros, 2, {}).entropy, 0);
}

TEST(Microscope, LargestValuesAreOfMagnitudes) {
  std::vector<float> numbers;
  for (int i = 1; i <= 200; ++i) numbers.push_back(static_cast<float>(i % 2 == 0 ? i : -i));
  const LargestValues largest = largest_values(numbers);
  EXPECT_EQ(largest.top_1, 200);
  EXPECT_EQ(largest.top_3, 198);
  EXPECT_EQ(largest.top_10, 191);
  EXPECT_EQ(largest.top_100, 101);
  EXPECT_EQ(largest.median, 100.5);
  std::vector<float> two = {-3, 1};
  EXPECT_EQ(largest_values(two).top_3, 0);
  std::vector<float> none;
  EXPECT_EQ(largest_values(none).median, 0);
}

TEST(Microscope, TopReadsAreTheLargestWeightsAboveZero) {
  const std::vector<float> row = {0.2F, -0.9F, 0.5F, 0.2F};
  Tensor map(DType::float32, {4, 4});
  std::copy(row.begin(), row.end(), map.f32().begin() + 12);
  const std::vector<std::pair<std::int64_t, float>> want = {{2, 0.5F}, {0, 0.2F}, {3, 0.2F}};
  EXPECT_EQ(top_reads(map, 3, 9), want);
  EXPECT_EQ(top_reads(map, 3, 1).size(), 1U);
  EXPECT_THAT([&] { top_reads(map, 4, 1); },
              ThrowsMessage<InvalidArgument>(HasSubstr("got token 4")));
}

TEST(Microscope, AnAnswerIsFoundByItsBytes) {
  Encoding encoding;
  encoding.offsets = {{0, 0}, {0, 3}, {3, 6}, {6, 9}};
  const TokenSpan span = find_answer("abcdefghi", "cde", encoding);
  EXPECT_EQ(span.begin, 1);
  EXPECT_EQ(span.end, 3);
  EXPECT_THAT([&] { find_answer("abcdefghi", "x", encoding); },
              ThrowsMessage<InvalidArgument>(HasSubstr("got \"x\"")));
  EXPECT_THROW(find_answer("abcdefghi", "", encoding), InvalidArgument);
}

TEST(Microscope, RefusesWhatIsNotThere) {
  const Model model = open(golden_model("diffllama_causal"));
  const Ids ids = {3, 1, 4};
  const auto refuses = [&](const MicroscopeOptions& options, const std::string& message) {
    EXPECT_THAT([&] { attention_report(model, ids, options); },
                ThrowsMessage<InvalidArgument>(HasSubstr(message)));
  };
  refuses({.layer = 2}, "[layer] expected 0..1, got 2");
  refuses({.head = -1}, "[head] expected 0..");
  refuses({.answer = TokenSpan{1, 4}}, "[answer] expected tokens BEGIN:END of 0:3");
  refuses({.answer = TokenSpan{1, 1}}, "[answer]");
  EXPECT_THROW(attention_report(model, Ids{}), InvalidArgument);
  EXPECT_THROW(attention_report(model, Ids{99999}), InvalidArgument);
  const AttentionReport none = attention_report(model, ids, {.keep_maps = false});
  EXPECT_THROW(to_html(none), InvalidArgument);
  EXPECT_THAT([&] { to_png(none, 0, 0); },
              ThrowsMessage<InvalidArgument>(HasSubstr("whose maps were kept")));
}

TEST(Microscope, JsonHasTheSameNumbers) {
  const Model model = open(golden_model("v2_causal"));
  const AttentionReport report =
      attention_report(model, Ids{3, 1, 4, 1}, {.layer = 1, .answer = TokenSpan{1, 2}});
  const json got = json::parse(to_json(report, 2));
  EXPECT_EQ(got["maps"], 2);
  EXPECT_EQ(got["answer"], json({{"begin", 1}, {"end", 2}}));
  EXPECT_EQ(got["mean"]["difference"]["last_token"]["answer"],
            report.mean.difference.last_token.answer);
  const AttentionHead& head = report.layers[1].heads[0];
  const json& of_head = got["layers"][1]["heads"][0];
  EXPECT_EQ(of_head["lambda"].get<std::vector<float>>(), head.lambda);
  EXPECT_EQ(of_head["maps"]["second"][3][2].get<float>(), head.second.f32()[14]);
  EXPECT_EQ(of_head["reads"][3]["with_subtraction"][0][0],
            top_reads(head.difference, 3, 1)[0].first);
  EXPECT_FALSE(got["layers"][0]["heads"][0].contains("maps"));
}

TEST(Microscope, APageHoldsItsDataAndNoTokenEndsIt) {
  AttentionReport report = attention_report(open(golden_model("diffllama_causal")), Ids{3, 1});
  report.tokens = {"</script><b>", "x"};
  const std::string page = to_html(report);
  EXPECT_EQ(page.find("</script><b>"), std::string::npos);
  EXPECT_EQ(page.find("http"), std::string::npos);
  const std::size_t at = page.find(R"(id="maps-1-0">)");
  ASSERT_NE(at, std::string::npos);
  const std::string bytes = decode_base64(page.substr(at + 14, 16)).value();
  EXPECT_EQ(bytes.size(), 12U);
  EXPECT_EQ(bytes.substr(0, 2), std::string("\x00\x3c", 2));  // 1 in float16: the first token
}

struct Pixels {
  std::int64_t width, height;
  std::vector<std::uint8_t> rgb;
};

Pixels read_png(const std::string& bytes) {
  png_image image = {};
  image.version = PNG_IMAGE_VERSION;
  EXPECT_NE(png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()), 0);
  image.format = PNG_FORMAT_RGB;
  std::vector<std::uint8_t> rgb(PNG_IMAGE_SIZE(image));
  EXPECT_NE(png_image_finish_read(&image, nullptr, rgb.data(), 0, nullptr), 0);
  return {image.width, image.height, rgb};
}

TEST(Microscope, AnImageHasASquareForEachWeight) {
  const AttentionReport report =
      attention_report(open(golden_model("diffllama_causal")), Ids{3, 1, 4, 1});
  const AttentionHead& head = report.layers[1].heads[0];
  const std::string bytes = to_png(report, 1, 0);
  EXPECT_NE(bytes.find("Attention of DiffLlamaForCausalLM, layer 1, head 0"), std::string::npos);
  const Pixels got = read_png(bytes);
  EXPECT_EQ(got.width, 12 + 3 * (4 * 24 + 8));
  EXPECT_EQ(got.height, 26 + 4 * 24 + 8);
  const Tensor* const maps[] = {&head.first, &head.second, &head.difference};
  for (std::int64_t map = 0; map < 3; ++map) {
    for (std::int64_t i = 0; i < 16; ++i) {
      const std::int64_t x = 12 + map * (4 * 24 + 8) + i % 4 * 24 + 12;
      const std::int64_t y = 26 + i / 4 * 24 + 12;
      const float weight = maps[map]->f32()[static_cast<std::size_t>(i)];
      // Red goes from 255 to 9, or to 196 for A2 and below zero.
      const double full = map == 1 || weight < 0 ? 196 : 9;
      const double want = 255 + std::sqrt(std::fabs(weight)) * (full - 255);
      EXPECT_NEAR(got.rgb[static_cast<std::size_t>(3 * (y * got.width + x))], want, 0.51);
    }
  }
}

// Whether letter `character` stands in black from (x, y) on; upwards: turned, from its bottom left.
bool stands(const Pixels& image, std::int64_t x, std::int64_t y, char32_t character, bool upwards) {
  for (std::int64_t i = 0; i < kGlyphWidth * kGlyphHeight; ++i) {
    const std::int64_t along = i % kGlyphWidth;
    const std::int64_t down = i / kGlyphWidth;
    const std::int64_t column = upwards ? x + down : x + along;
    const std::int64_t row = upwards ? y - along : y + down;
    const bool black =
        image.rgb.at(static_cast<std::size_t>(3 * (row * image.width + column))) < 80;
    if (black != ((glyph(character) >> i & 1) != 0)) return false;
  }
  return true;
}

TEST(Microscope, AnImageHasTokensOnItsAxes) {
  AttentionReport report =
      attention_report(open(golden_model("diffllama_causal")), Ids{3, 1, 4, 1});
  report.tokens = {"To", " b\n", "\xD0\xB6", "a very long word"};
  const Pixels got = read_png(to_png(report, 1, 0));
  const std::int64_t axis = 14 * kGlyphWidth;  // the longest, cut
  const std::vector<std::u32string> labels = {U"To", U"\u00B7b\u00B6", U"\u0436",
                                              U"a\u00B7very\u00B7long\u00B7w\u2026"};
  for (std::int64_t token = 0; token < 4; ++token) {
    const std::u32string& label = labels[static_cast<std::size_t>(token)];
    for (std::int64_t i = 0; i < std::ssize(label); ++i) {
      const char32_t character = label[static_cast<std::size_t>(i)];
      const std::int64_t from_end = std::ssize(label) - i;
      EXPECT_TRUE(stands(got, 8 + axis - from_end * kGlyphWidth, 26 + axis + token * 24 + 7,
                         character, false))
          << token << ' ' << i;
      for (std::int64_t map = 0; map < 3; ++map) {
        EXPECT_TRUE(stands(got, 12 + axis + map * (4 * 24 + 8) + token * 24 + 7,
                           26 + axis - 5 - i * kGlyphWidth, character, true))
            << map << ' ' << token << ' ' << i;
      }
    }
  }
  EXPECT_TRUE(stands(got, 12 + axis + 2 * std::int64_t{4 * 24 + 8}, 8, U'A', false));
  EXPECT_EQ(glyph(U'\u6F22'), glyph(U'\u25A1'));
}

}  // namespace
}  // namespace diffllama
