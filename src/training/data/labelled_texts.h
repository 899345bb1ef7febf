#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "diffllama/config.h"
#include "training/data/bad_rows.h"
#include "training/data/rows.h"

namespace diffllama {

/// What the fields of labelled texts are called: columns, or members of objects ("a.b" is b inside
/// of a).
struct TextColumns {
  std::string text = "text";  // "sentence" may stand for it
  std::string text_pair = "text_pair";
  std::string label = "label";
};

/// A row of a file of labelled texts.
struct LabelledText {
  std::string text;
  std::optional<std::string> text_pair;
  nlohmann::json label;
  bool of_table = false;  // the label is a string then
  std::string where;      // "PATH:LINE"
};

/// Files of rows {"text": ..., "label": ...} for sequence classification, one after another, as
/// RowReader reads them; a "text_pair" may follow. A label is an integer (a class), a string (a
/// class's name), a number (regression), or a list of integers, of strings or of numbers (several
/// classes, or a number for each). In a table it is text; LabelParser knows what it stands for.
class LabelledTextReader {
 public:
  explicit LabelledTextReader(std::vector<std::filesystem::path> files, TextColumns columns = {});
  /// Throws IoError, FormatError "PATH:LINE: ...".
  bool next(LabelledText& text);

 private:
  std::vector<std::filesystem::path> files_;
  TextColumns columns_;
  std::size_t next_file_ = 0;
  std::unique_ptr<RowReader> rows_;
};

/// What lists of integers are: numbers of classes, or for each class a 0 or a 1.
enum class LabelLists { classes, multi_hot };

/// What a recipe says about labels.
struct LabelOptions {
  std::optional<ProblemType> problem_type = std::nullopt;
  std::vector<std::string> names = {};  // of the classes; empty: those of the data
  /// Absent: classes, unless a list has as many integers as there are classes, all 0 or 1.
  std::optional<LabelLists> lists = std::nullopt;
};

/// What the labels of some files are, for a configuration that does not say.
struct LabelSummary {
  ProblemType problem_type = ProblemType::single_label_classification;
  /// Names in sorted order; for labels that are integers LABEL_0 to the largest; for numbers one
  /// LABEL_I for each of a label's.
  std::vector<std::string> names;
  /// Why the labels may be meant otherwise than they are taken; empty where that is clear.
  std::string doubt;
};

/// Labels of tables are classes by number where all are plain integers and 0..N-1 without large
/// gaps (at least half of them stand in the files), numbers to predict where all are numbers and
/// one has a fraction, and names otherwise; `options` may say which. Throws FormatError "PATH:LINE:
/// ..." for a label that is none, or of another kind than those before it.
LabelSummary collect_labels(const std::vector<std::filesystem::path>& files,
                            const TextColumns& columns, const LabelOptions& options,
                            BadRows& bad_rows);

/// A label as the loss takes it.
struct LabelValue {
  std::int64_t label_class = 0;  // single_label_classification
  std::vector<float> values;     // num_labels of them for the others
};

/// Reads labels for a model with the classes `names`.
class LabelParser {
 public:
  LabelParser(std::vector<std::string> names, ProblemType problem_type,
              std::optional<LabelLists> lists = std::nullopt);
  ProblemType problem_type() const { return problem_type_; }
  std::int64_t num_labels() const { return static_cast<std::int64_t>(names_.size()); }
  /// Of a table's label a class's name wins; what names none is its number, unless names are
  /// integers themselves. Throws FormatError "WHERE: label: expected ALLOWED, got FOUND".
  LabelValue parse(const LabelledText& text) const;

 private:
  LabelValue parse(const nlohmann::json& label, const std::string& where) const;
  std::int64_t class_of(const nlohmann::json& label, const std::string& where) const;
  float number(const nlohmann::json& label, const std::string& where) const;
  void check_list(const nlohmann::json& label, const std::string& where) const;

  std::vector<std::string> names_;
  ProblemType problem_type_;
  std::optional<LabelLists> lists_;
  bool numbered_;  // a table may name classes by their numbers
};

}  // namespace diffllama
