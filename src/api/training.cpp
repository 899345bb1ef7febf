#include "diffllama/training.h"

#include <utility>

#include "tasks/machine_speed.h"
#include "training/comparison.h"
#include "training/session.h"

namespace diffllama {
namespace {

double peak_of(ComputeType compute, const Parallel& parallel) {
  const bool half = compute == ComputeType::bfloat16;
  return ProductPeak(half ? PanelFormat::bfloat16 : PanelFormat::float32,
                     half ? ProductType::bfloat16 : ProductType::float32, parallel)
      .measure();
}

}  // namespace

std::string complete_recipe(std::string_view recipe, const std::string& where) {
  return write_recipe(parse_recipe(recipe, where));
}

std::string set_recipe_field(std::string_view recipe, const std::string& name,
                             const std::string& value) {
  Recipe parsed = parse_recipe(recipe, "recipe");
  set_recipe_field(parsed, name, value);
  return write_recipe(parsed);
}

void validate_recipe(std::string_view recipe, const std::string& where) {
  validate(parse_recipe(recipe, where), where);
}

TrainingEnd train(std::string_view recipe, const TrainingOptions& options) {
  const PeakMeasurement peak = options.measure_peak ? peak_of : PeakMeasurement();
  return run_training(parse_recipe(recipe, "recipe"), options, peak);
}

ComparisonEnd compare_training(std::string_view recipe, std::string_view compare,
                               const TrainingOptions& options) {
  return run_comparison(parse_recipe(recipe, "recipe"), parse_comparison(compare, "recipe"),
                        options);
}

}  // namespace diffllama
