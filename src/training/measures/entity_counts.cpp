#include "training/measures/entity_counts.h"

#include <algorithm>
#include <optional>

namespace diffllama {
namespace {

struct Label {
  char position = 'O';
  std::string_view type;
};

Label parse(std::string_view label) {
  if (label.size() < 3 || label[1] != '-') return {};
  return {label[0], label.substr(2)};
}

bool goes_on(const Label& before, const Label& label) {
  const bool ended = before.position == 'O' || before.position == 'E' || before.position == 'S';
  const bool begins = label.position == 'B' || label.position == 'S';
  return !ended && !begins && label.position != 'O' && before.type == label.type;
}

}  // namespace

bool are_entity_labels(std::span<const std::string> labels) {
  const bool all = std::ranges::all_of(labels, [](const std::string& label) {
    return label == "O" || (label.size() > 2 && label[1] == '-' &&
                            std::string_view("BIES").find(label[0]) != std::string_view::npos);
  });
  return all && std::ranges::any_of(labels, [](const std::string& label) { return label != "O"; });
}

std::vector<LabelledSpan> entities_of_labels(std::span<const std::string_view> labels) {
  std::vector<LabelledSpan> spans;
  Label before;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const Label label = parse(labels[i]);
    if (goes_on(before, label)) {
      spans.back().end = i + 1;
    } else if (label.position != 'O') {
      spans.push_back({.type = std::string(label.type), .begin = i, .end = i + 1});
    }
    before = label;
  }
  return spans;
}

void EntityCounts::add(std::span<const std::string_view> labels,
                       std::span<const std::string_view> predictions) {
  const std::vector<LabelledSpan> right = entities_of_labels(labels);
  const std::vector<LabelledSpan> found = entities_of_labels(predictions);
  labelled += std::ssize(right);
  predicted += std::ssize(found);
  hits += std::ranges::count_if(found, [&](const LabelledSpan& span) {
    return std::ranges::find(right, span) != right.end();
  });
}

double EntityCounts::precision() const {
  return predicted == 0 ? 0 : static_cast<double>(hits) / static_cast<double>(predicted);
}

double EntityCounts::recall() const {
  return labelled == 0 ? 0 : static_cast<double>(hits) / static_cast<double>(labelled);
}

double EntityCounts::f1() const {
  const std::int64_t both = labelled + predicted;
  return both == 0 ? 0 : 2 * static_cast<double>(hits) / static_cast<double>(both);
}

}  // namespace diffllama
