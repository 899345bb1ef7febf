#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace diffllama {

/// Words [begin, end) of a sentence.
struct LabelledSpan {
  std::string type;
  std::size_t begin = 0, end = 0;
  bool operator==(const LabelledSpan&) const = default;
};

/// Whether labels are of the schemes IOB1, IOB2, IOE or IOBES: "O", or a letter of BIES, a dash and
/// a type.
bool are_entity_labels(std::span<const std::string> labels);

/// The entities of a sentence by the rules of CoNLL's script (conlleval), which are seqeval's
/// default: a change of type, "B-" and "S-" begin one, and what follows "E-" and "S-"; so "I-"
/// begins one, too, where it goes on with none.
std::vector<LabelledSpan> entities_of_labels(std::span<const std::string_view> labels);

/// Entities over sentences: those that are labelled, predicted, and both with the same place and
/// type.
struct EntityCounts {
  std::int64_t labelled = 0, predicted = 0, hits = 0;

  void add(std::span<const std::string_view> labels, std::span<const std::string_view> predictions);
  double precision() const;  // 0 without any, as all three
  double recall() const;
  double f1() const;
};

}  // namespace diffllama
