#include "microscope/measures.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace diffllama {
namespace {

// Calls visit(total, part) for each number of a measure.
void for_each_number(AttentionShare& total, const AttentionShare& part,
                     const std::function<void(double&, double)>& visit) {
  visit(total.answer, part.answer);
  visit(total.bos, part.bos);
  visit(total.rest, part.rest);
}

void for_each_number(MapMeasures& total, const MapMeasures& part,
                     const std::function<void(double&, double)>& visit) {
  for_each_number(total.last_token, part.last_token, visit);
  for_each_number(total.after_answer, part.after_answer, visit);
  visit(total.entropy, part.entropy);
  visit(total.negative_mass, part.negative_mass);
}

void for_each_number(AttentionMeasures& total, const AttentionMeasures& part,
                     const std::function<void(double&, double)>& visit) {
  for_each_number(total.first, part.first, visit);
  for_each_number(total.second, part.second, visit);
  for_each_number(total.difference, part.difference, visit);
  visit(total.lambda, part.lambda);
}

struct RowMeasures {
  AttentionShare share;
  double entropy = 0, negative_mass = 0;
};

RowMeasures measure_row(std::span<const float> row, const std::optional<TokenSpan>& answer) {
  double magnitude = 0;
  double negative = 0;
  RowMeasures measures;
  for (std::size_t s = 0; s < row.size(); ++s) {
    const double weight = row[s];
    magnitude += std::fabs(weight);
    negative += std::max(-weight, 0.0);
    const auto key = static_cast<std::int64_t>(s);
    const bool answers = answer && key >= answer->begin && key < answer->end;
    AttentionShare& share = measures.share;
    (answers ? share.answer : key == 0 ? share.bos : share.rest) += weight;
  }
  if (magnitude == 0) return {};  // equal maps and lambda 1
  for (double* share : {&measures.share.answer, &measures.share.bos, &measures.share.rest}) {
    *share /= magnitude;
  }
  measures.negative_mass = negative / magnitude;
  for (const float weight : row) {
    const double p = std::fabs(weight) / magnitude;
    if (p > 0) measures.entropy -= p * std::log(p);
  }
  return measures;
}

}  // namespace

MapMeasures measure_map(std::span<const float> map, std::int64_t tokens,
                        const std::optional<TokenSpan>& answer) {
  MapMeasures measures;
  // Nothing stands behind an answer that ends the text: then the last token is all there is.
  const std::int64_t behind = answer ? std::min(answer->end, tokens - 1) : 0;
  const auto add = [](double& total, double part) { total += part; };
  for (std::int64_t token = 0; token < tokens; ++token) {
    const auto row =
        map.subspan(static_cast<std::size_t>(token * tokens), static_cast<std::size_t>(token + 1));
    const RowMeasures of_row = measure_row(row, answer);
    measures.entropy += of_row.entropy / static_cast<double>(tokens);
    measures.negative_mass += of_row.negative_mass / static_cast<double>(tokens);
    if (token >= behind) for_each_number(measures.after_answer, of_row.share, add);
    if (token + 1 == tokens) measures.last_token = of_row.share;
  }
  const auto rows = static_cast<double>(tokens - behind);
  for_each_number(measures.after_answer, {}, [&](double& total, double) { total /= rows; });
  return measures;
}

AttentionMeasures mean_of(std::span<const AttentionMeasures> measures) {
  AttentionMeasures mean;
  for (const AttentionMeasures& part : measures) {
    for_each_number(mean, part, [](double& total, double number) { total += number; });
  }
  const auto count = static_cast<double>(measures.size());
  for_each_number(mean, {}, [&](double& total, double) { total /= count; });
  return mean;
}

LargestValues largest_values(std::vector<float>& values) {
  for (float& value : values) {
    value = std::isnan(value) ? std::numeric_limits<float>::infinity() : std::fabs(value);
  }
  const auto at = [&](std::size_t rank) -> double {  // from the largest, 0
    if (rank >= values.size()) return 0;
    const auto place = values.begin() + static_cast<std::ptrdiff_t>(rank);
    std::ranges::nth_element(values, place, std::greater<>());
    return *place;
  };
  const std::size_t count = values.size();
  const double median = count % 2 == 1 ? at(count / 2) : (at(count / 2 - 1) + at(count / 2)) / 2;
  return {.top_1 = at(0),
          .top_2 = at(1),
          .top_3 = at(2),
          .top_10 = at(9),
          .top_100 = at(99),
          .median = count == 0 ? 0 : median};
}

}  // namespace diffllama
