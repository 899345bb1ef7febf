#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "training/measures/class_counts.h"
#include "training/measures/correlation.h"
#include "training/measures/entity_counts.h"
#include "training/measures/squad_scores.h"

namespace diffllama {
namespace {

using nlohmann::json;

// tools/make_measure_goldens.py: scikit-learn, SciPy, seqeval and SQuAD's script.
const json& goldens() {
  static const json all = [] {
    std::ifstream file(DIFFLLAMA_SOURCE_DIR "/tests/golden/measures.json");
    return json::parse(file);
  }();
  return all;
}

TEST(Measures, OfClassesEqualScikitLearn) {
  ASSERT_FALSE(goldens()["classes"].empty());
  for (const json& golden : goldens()["classes"]) {
    ClassCounts counts(golden["classes"]);
    for (std::size_t i = 0; i < golden["labels"].size(); ++i) {
      counts.add(golden["labels"][i], golden["predictions"][i]);
    }
    EXPECT_NEAR(counts.accuracy(), golden["accuracy"].get<double>(), 1e-12);
    EXPECT_NEAR(counts.macro_f1(), golden["macro_f1"].get<double>(), 1e-12) << golden;
    EXPECT_NEAR(counts.matthews(), golden["matthews_correlation"].get<double>(), 1e-12) << golden;
  }
  EXPECT_EQ(ClassCounts(2).accuracy(), 0);
}

TEST(Measures, OfNumbersEqualSciPy) {
  ASSERT_FALSE(goldens()["correlations"].empty());
  for (const json& golden : goldens()["correlations"]) {
    const std::vector<double> a = golden["a"], b = golden["b"];
    EXPECT_NEAR(pearson(a, b), golden["pearson"].get<double>(), 1e-12);
    EXPECT_NEAR(spearman(a, b), golden["spearman"].get<double>(), 1e-12) << golden;
  }
}

std::vector<std::string_view> views(const json& texts) {
  std::vector<std::string_view> result;
  for (const json& text : texts) result.emplace_back(text.get_ref<const std::string&>());
  return result;
}

TEST(Measures, OfEntitiesEqualSeqeval) {
  ASSERT_FALSE(goldens()["entities"].empty());
  for (const json& golden : goldens()["entities"]) {
    EntityCounts counts;
    for (std::size_t i = 0; i < golden["labels"].size(); ++i) {
      counts.add(views(golden["labels"][i]), views(golden["predictions"][i]));
    }
    EXPECT_NEAR(counts.f1(), golden["entity_f1"].get<double>(), 1e-12) << golden;
    EXPECT_NEAR(counts.precision(), golden["entity_precision"].get<double>(), 1e-12);
    EXPECT_NEAR(counts.recall(), golden["entity_recall"].get<double>(), 1e-12);
  }
}

TEST(Measures, KnowLabelsOfEntities) {
  const std::vector<std::string> entities = {"O", "B-PER", "I-PER"};
  EXPECT_TRUE(are_entity_labels(entities));
  const std::vector<std::string> tags = {"NOUN", "VERB"};
  EXPECT_FALSE(are_entity_labels(tags));
  const std::vector<std::string> none = {"O"};
  EXPECT_FALSE(are_entity_labels(none));
}

TEST(Measures, OfAnswersEqualSquad) {
  ASSERT_FALSE(goldens()["squad"].empty());
  for (const json& golden : goldens()["squad"]) {
    const std::string prediction = golden["prediction"];
    EXPECT_EQ(normalized_answer(prediction), golden["normalized"]) << golden;
    const SquadScore score =
        squad_score(prediction, golden["answers"].get<std::vector<std::string>>());
    EXPECT_NEAR(score.exact_match, golden["exact_match"].get<double>(), 1e-12) << golden;
    EXPECT_NEAR(score.f1, golden["f1"].get<double>(), 1e-12) << golden;
  }
}

}  // namespace
}  // namespace diffllama
