#include "training/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "diffllama/error.h"

namespace diffllama {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kSmall = R"({
  "model": {"from": "m"},
  "data": {"kind": "jsonl", "train": "a.jsonl", "valid": ["b.jsonl", "c.jsonl"]},
  "optimizer": {"learning_rate": 3e-4},
  "checkpoints": {"output_dir": "out"}
})";

template <class Body>
std::string refusal(const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

std::string refusal_of(const std::string& text) {
  return refusal([&] { validate(parse_recipe(text, "r.json"), "r.json"); });
}

TEST(Recipe, TakesDefaultsForWhatIsAbsent) {
  const Recipe recipe = parse_recipe(kSmall, "r.json");
  validate(recipe, "r.json");
  EXPECT_EQ(recipe.model.from, "m");
  EXPECT_EQ(recipe.data.kind, DataKind::jsonl);
  EXPECT_THAT(recipe.data.train, ElementsAre("a.jsonl"));
  EXPECT_THAT(recipe.data.valid, ElementsAre("b.jsonl", "c.jsonl"));
  EXPECT_EQ(recipe.optimizer.learning_rate, 3e-4);
  EXPECT_EQ(recipe.training.batch_size, 8);
  EXPECT_FALSE(recipe.lora.has_value());
  EXPECT_EQ(recipe.spike_factor(), 3.0);
}

TEST(Recipe, IsPrintedWholeAndReadsBackTheSame) {
  Recipe recipe = parse_recipe(kSmall, "r.json");
  recipe.lora.emplace();
  recipe.lora->target_modules = {"q_proj", "o_proj"};
  recipe.metrics.spike_factor = 2.5;
  recipe.optimizer.adam.eps = 1e-9;
  recipe.model.dtype = DType::bfloat16;
  const std::string text = write_recipe(recipe);
  for (const RecipeField& field : recipe_fields()) {
    const std::string name = field.name.substr(field.name.find('.') + 1);
    EXPECT_THAT(text, HasSubstr("\"" + name + "\": ")) << field.name;
    EXPECT_THAT(field.help, testing::Not(IsEmpty())) << field.name;
  }
  const Recipe again = parse_recipe(text, "again");
  EXPECT_EQ(write_recipe(again), text);
  EXPECT_THAT(recipe_differences(again, recipe), IsEmpty());
}

TEST(Recipe, EveryFieldCanBeSetToWhatItIs) {
  Recipe recipe = parse_recipe(kSmall, "r.json");
  recipe.lora.emplace();
  const std::string text = write_recipe(recipe);
  for (const RecipeField& field : recipe_fields()) {
    if (field.name == "data.kind") continue;  // its default is none
    Recipe changed = recipe;
    set_recipe_field(changed, field.name, field.default_value);
  }
  Recipe same = recipe;
  set_recipe_field(same, "data.kind", "jsonl");
  set_recipe_field(same, "data.kind", "\"jsonl\"");
  EXPECT_EQ(write_recipe(same), text);
}

TEST(Recipe, SetTakesNumbersTextAndLists) {
  Recipe recipe = parse_recipe(kSmall, "r.json");
  set_recipe_field(recipe, "optimizer.learning_rate", "1e-3");
  set_recipe_field(recipe, "data.train", "x y.txt");
  set_recipe_field(recipe, "data.valid", R"(["1", "2"])");
  set_recipe_field(recipe, "checkpoints.output_dir", "12");
  set_recipe_field(recipe, "model.config", R"({"vocab_size": 8})");
  set_recipe_field(recipe, "model.from", "null");
  set_recipe_field(recipe, "data.packing", "false");
  EXPECT_EQ(recipe.optimizer.learning_rate, 1e-3);
  EXPECT_THAT(recipe.data.train, ElementsAre("x y.txt"));
  EXPECT_THAT(recipe.data.valid, ElementsAre("1", "2"));
  EXPECT_EQ(recipe.checkpoints.output_dir, "12");
  EXPECT_EQ(recipe.model.config.at("vocab_size"), 8);
  EXPECT_EQ(recipe.model.from, "");
  EXPECT_FALSE(recipe.data.packing);
  set_recipe_field(recipe, "lora.r", "4");
  ASSERT_TRUE(recipe.lora.has_value());
  EXPECT_EQ(recipe.lora->rank, 4);
  set_recipe_field(recipe, "lora", "null");
  EXPECT_FALSE(recipe.lora.has_value());
}

TEST(Recipe, UnknownNamesAreRefusedWithTheNearest) {
  EXPECT_THAT(refusal_of(R"({"optimiser": {}})"),
              "r.json: expected a known section, got \"optimiser\"; the nearest is optimizer");
  EXPECT_THAT(refusal_of(R"({"optimizer": {"lr": 1}})"),
              HasSubstr("expected a known field, got \"optimizer.lr\""));
  EXPECT_THAT(refusal_of(R"({"training": {"batchsize": 1}})"),
              HasSubstr("the nearest is training.batch_size"));
  Recipe recipe;
  EXPECT_THAT(refusal([&] { set_recipe_field(recipe, "optimizer.learningrate", "1"); }),
              "--set optimizer.learningrate=1: expected a known field, got "
              "\"optimizer.learningrate\"; the nearest is optimizer.learning_rate");
  EXPECT_THAT(refusal([&] { set_recipe_field(recipe, std::string(100000, 'x'), "1"); }),
              HasSubstr("expected a known field"));
}

TEST(Recipe, ANameWithoutItsSectionIsFound) {
  Recipe recipe;
  const auto refused = [&](const char* name, const char* value) {
    return refusal([&] { set_recipe_field(recipe, name, value); });
  };
  EXPECT_THAT(refused("learning_rate", "1"), HasSubstr("nearest is optimizer.learning_rate"));
  EXPECT_THAT(refused("max_step", "1"), HasSubstr("nearest is training.max_steps"));
  EXPECT_THAT(refused("training.sed", "1"), HasSubstr("nearest is training.seed"));
  EXPECT_THAT(refused("lora", "4"),
              HasSubstr("lora: expected null, or one field of an adapter, as in --set lora.r=8"));
  set_recipe_field(recipe, "data.text_documents", "blank_line");
  EXPECT_EQ(recipe.data.text_documents, TextDocuments::blank_line);
}

TEST(Recipe, ValuesThatDoNotFitAreNamed) {
  const struct {
    const char* text;
    const char* named;
  } wrong[] = {
      {R"([])", "r.json: expected an object, got []"},
      {R"({"model": 1})", "r.json: model: expected an object, got 1"},
      {R"({"training": {"batch_size": 0}})",
       "r.json: training.batch_size: expected an integer from 1 to 65536, got 0"},
      {R"({"training": {"batch_size": 4294967296}})", "training.batch_size: expected an integer"},
      {R"({"evaluation": {"batch_size": 4294967296}})",
       "evaluation.batch_size: expected an integer"},
      {R"({"data": {"sequence_length": 4294967296}})", "data.sequence_length: expected an integer"},
      {R"({"training": {"batch_size": 1.5}})", "training.batch_size: expected an integer from 1"},
      {R"({"training": {"seed": 18446744073709551615}})", "training.seed: expected an integer"},
      {R"({"training": {"seed": -1}})", "training.seed: expected an integer from 0"},
      {R"({"training": {"max_steps": 9223372036854775807}})", "training.max_steps: expected"},
      {R"({"training": {"num_train_epochs": 0}})",
       "training.num_train_epochs: expected a number above 0, got 0"},
      {R"({"training": {"dtype": "float16"}})",
       "training.dtype: expected float32 or bfloat16, got \"float16\""},
      {R"({"optimizer": {"adam_beta2": 1}})",
       "optimizer.adam_beta2: expected a number from 0 to 0.9999999, got 1"},
      {R"({"optimizer": {"learning_rate": "high"}})", "expected a number of at least 0"},
      {R"({"optimizer": {"learning_rate": null}})", "got null"},
      {R"({"schedule": {"lr_scheduler_type": "polynomial"}})",
       "schedule.lr_scheduler_type: expected linear, cosine or constant, got \"polynomial\""},
      {R"({"data": {"train": [1]}})", "data.train: expected a string or a list of strings"},
      {R"({"data": {"packing": 1}})", "data.packing: expected true or false, got 1"},
      {R"({"model": {"config": 3}})", "model.config: expected an object"},
      {R"({"lora": 3})", "lora: expected an object, got 3"},
  };
  for (const auto& [text, named] : wrong) EXPECT_THAT(refusal_of(text), HasSubstr(named)) << text;
}

TEST(Recipe, FieldsThatDoNotFitTogetherAreNamed) {
  const auto without = [](const std::string& name, const std::string& value) {
    return refusal([&] {
      Recipe recipe = parse_recipe(kSmall, "r.json");
      set_recipe_field(recipe, name, value);
      validate(recipe, "r.json");
    });
  };
  EXPECT_THAT(without("model.from", "null"), HasSubstr("got neither"));
  EXPECT_THAT(without("model.config", "config.json"), HasSubstr("got both"));
  EXPECT_THAT(without("data.kind", "null"), HasSubstr("data.kind: expected text, jsonl"));
  EXPECT_THAT(without("data.train", "[]"), HasSubstr("data.train"));
  EXPECT_THAT(without("checkpoints.output_dir", "null"), HasSubstr("checkpoints.output_dir"));
  EXPECT_THAT(without("model.labels", R"(["a"])"), HasSubstr("model.labels"));
  EXPECT_THAT(without("model.problem_type", "regression"), HasSubstr("model.problem_type"));
  const auto best = [](const std::string& valid) {
    return refusal([&] {
      Recipe recipe = parse_recipe(kSmall, "r.json");
      set_recipe_field(recipe, "checkpoints.best_metric", "perplexity");
      set_recipe_field(recipe, "data.valid", valid);
      validate(recipe, "r.json");
    });
  };
  EXPECT_THAT(best("[]"), HasSubstr("data.valid: expected files to evaluate on, for "
                                    "checkpoints.best_metric, got none"));
  EXPECT_EQ(best("valid.txt"), "accepted");
  EXPECT_THAT(without("checkpoints.output_dir", "\xff"),
              HasSubstr("checkpoints.output_dir: expected UTF-8"));
  EXPECT_EQ(without("lora.r", "4"), "accepted");
}

TEST(Recipe, DifferencesAreNamed) {
  const Recipe before = parse_recipe(kSmall, "r.json");
  Recipe now = before;
  now.training.seed = 7;
  now.lora.emplace();
  EXPECT_THAT(recipe_differences(now, before), testing::Contains("training.seed: 7, was 42"));
  EXPECT_THAT(recipe_differences(now, before), testing::Contains("lora.r: 8, was absent"));
}

}  // namespace
}  // namespace diffllama
