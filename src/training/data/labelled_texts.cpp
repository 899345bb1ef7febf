#include "training/data/labelled_texts.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/json.h"
#include "diffllama/error.h"
#include "training/data/token_rows.h"

namespace diffllama {
namespace {

using nlohmann::json;

constexpr std::int64_t kMostClasses = 1'000'000;

[[noreturn]] void refuse(const std::string& where, const std::string& expected, const json& found) {
  throw FormatError(where + ": label: expected " + expected + ", got " + json_excerpt(found));
}

// "0", "12", but neither "-1" nor "007".
bool is_class_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos &&
         (text.size() == 1 || text[0] != '0');
}

// A class's number as a table has it; nothing for other text.
std::optional<std::uint64_t> class_number(std::string_view text) {
  std::uint64_t number = 0;
  if (!is_class_number(text)) return std::nullopt;
  const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  return number;
}

// A number as JSON writes it, which "007" is not; nothing for other text.
std::optional<json> table_number(const std::string& text) {
  if (text.find_first_not_of("0123456789+-.eE") != std::string::npos) return std::nullopt;
  json number = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!number.is_number() || !std::isfinite(number.get<double>())) return std::nullopt;
  return number;
}

// The labels of tables, which are text: what they are is seen from all of them.
class TableLabels {
 public:
  using Places = std::map<std::string, std::string>;  // of each label the first

  void add(const std::string& label, const std::string& where) { places_.emplace(label, where); }
  bool empty() const { return places_.empty(); }
  const Places& places() const { return places_; }

  // 0, 1, 2, ..., of which at least half stand in the tables.
  bool are_classes() const {
    std::uint64_t largest = 0;
    for (const auto& [label, where] : places_) {
      const auto number = class_number(label);
      if (!number) return false;
      largest = std::max(largest, *number);
    }
    return places_.contains("0") && largest < 2 * places_.size();
  }
  bool are_numbers() const {
    return std::ranges::all_of(
        places_, [](const auto& label) { return table_number(label.first).has_value(); });
  }
  bool have_fractions() const {
    return std::ranges::any_of(places_, [](const auto& label) {
      return label.first.find_first_of(".eE") != std::string::npos;
    });
  }
  // The first few, for messages.
  std::string text() const {
    std::vector<std::string> labels;
    for (const auto& [label, where] : places_) labels.push_back(label);
    return label_names(labels);
  }

 private:
  Places places_;
};

// What stands in the files so far.
class LabelCollector {
 public:
  explicit LabelCollector(const LabelOptions& options) : options_(options) {}

  void add(const LabelledText& text) {
    if (text.of_table) {
      table_.add(text.label.get_ref<const std::string&>(), text.where);
    } else {
      add(text.label, text.where);
    }
  }

  LabelSummary summary() {
    LabelSummary result;
    if (!table_.empty()) result.doubt = add_table();
    if (!numbers_ && !no_class_.is_null()) {
      refuse(no_class_where_, "a class of 0.." + std::to_string(kMostClasses - 1), no_class_);
    }
    const bool list = list_.value_or(false);
    result.problem_type = list       ? ProblemType::multi_label_classification
                          : numbers_ ? ProblemType::regression
                                     : ProblemType::single_label_classification;
    if (!names_.empty()) {
      result.names = {names_.begin(), names_.end()};
      return result;
    }
    const std::int64_t count = !numbers_ ? largest_ + 1
                               : list    ? static_cast<std::int64_t>(width_.value_or(0))
                                         : 1;
    for (std::int64_t i = 0; i < count; ++i) result.names.push_back("LABEL_" + std::to_string(i));
    return result;
  }

 private:
  void add(const json& label, const std::string& where) {
    if (label.is_array()) {
      expect_list(true, label, where);
      for (const json& item : label) add_item(item, label, where);
      if (numbers_) {
        if (width_ && *width_ != label.size()) {
          refuse(where, "a list of " + std::to_string(*width_) + " numbers as before", label);
        }
        width_ = label.size();
      }
    } else {
      expect_list(false, label, where);
      add_item(label, label, where);
    }
  }
  // Gives what is doubtful about the way that tables are read, where nobody names the classes.
  std::string add_table() {
    const bool regression = options_.problem_type == ProblemType::regression;
    const bool classes = !regression && table_.are_classes();
    const bool numbers = table_.are_numbers();
    const bool fractions =
        numbers && !options_.problem_type && options_.names.size() < 2 && table_.have_fractions();
    const bool as_numbers = classes || regression || fractions;
    for (const auto& [label, where] : table_.places()) {
      const auto number = as_numbers ? table_number(label) : std::nullopt;
      add(number ? *number : json(label), where);
    }
    if (!options_.names.empty()) return "";
    if (fractions) {
      return "labels are numbers with a fraction, " + table_.text() +
             ": numbers to predict (model.problem_type=single_label_classification takes them for "
             "names of classes)";
    }
    if (numbers && !as_numbers && !options_.problem_type) {
      return "labels are numbers, but not 0, 1, 2, ...: they are taken for names of classes, " +
             table_.text() + " (model.problem_type=regression takes them for numbers to predict)";
    }
    const std::int64_t missing = largest_ + 1 - std::ssize(table_.places());
    if (classes && missing > 0) {
      return "of the classes 0.." + std::to_string(largest_) + " that labels name, " +
             std::to_string(missing) + " have no row";
    }
    return "";
  }
  void expect_list(bool list, const json& label, const std::string& where) {
    if (list_.value_or(list) != list) {
      refuse(where, *list_ ? "a list as before" : "no list as before", label);
    }
    list_ = list;
  }
  void add_item(const json& item, const json& label, const std::string& where) {
    if (item.is_string()) {
      if (integers_ || numbers_) refuse(where, "a number as before", label);
      names_.insert(item.get<std::string>());
    } else if (!item.is_number()) {
      refuse(where, "an integer, a number, a string or a list of them", label);
    } else if (!names_.empty()) {
      refuse(where, "a string as before", label);
    } else if (item.is_number_float() || options_.problem_type == ProblemType::regression ||
               (label.is_array() && options_.lists == LabelLists::multi_hot)) {
      numbers_ = true;
    } else {
      integers_ = true;
      add_class(item, label, where);
    }
  }
  // Integers are classes unless numbers with a fraction come, too.
  void add_class(const json& item, const json& label, const std::string& where) {
    const bool fits = item.is_number_unsigned() &&
                      item.get<std::uint64_t>() < static_cast<std::uint64_t>(kMostClasses);
    if (fits) {
      largest_ = std::max(largest_, item.get<std::int64_t>());
    } else if (no_class_.is_null()) {
      no_class_ = label;
      no_class_where_ = where;
    }
  }

  const LabelOptions& options_;
  TableLabels table_;
  std::optional<bool> list_;
  bool integers_ = false, numbers_ = false;
  std::set<std::string> names_;
  std::int64_t largest_ = -1;
  json no_class_;  // the first label that is no class
  std::string no_class_where_;
  std::optional<std::size_t> width_;
};

}  // namespace

LabelledTextReader::LabelledTextReader(std::vector<std::filesystem::path> files,
                                       TextColumns columns)
    : files_(std::move(files)), columns_(std::move(columns)) {}

bool LabelledTextReader::next(LabelledText& text) {
  DataRow row;
  while (!rows_ || !rows_->next(row)) {
    if (next_file_ == files_.size()) return false;
    rows_ = RowReader::open(files_[next_file_++]);
  }
  text.where = row.where;
  const bool sentence = columns_.text == "text" && find_field(row.fields, "text") == nullptr &&
                        find_field(row.fields, "sentence") != nullptr;
  text.text = string_field(row, sentence ? "sentence" : columns_.text);
  text.text_pair.reset();
  const json* pair = find_field(row.fields, columns_.text_pair);
  if (pair != nullptr && !pair->is_null()) text.text_pair = string_field(row, columns_.text_pair);
  text.label = required_field(row, columns_.label);
  text.of_table = row.of_table;
  return true;
}

LabelSummary collect_labels(const std::vector<std::filesystem::path>& files,
                            const TextColumns& columns, const LabelOptions& options,
                            BadRows& bad_rows) {
  LabelledTextReader reader(files, columns);
  LabelCollector collector(options);
  LabelledText text;
  while (bad_rows.next_good([&] {
    if (!reader.next(text)) return false;
    collector.add(text);
    return true;
  })) {
  }
  LabelSummary summary = collector.summary();
  if (summary.names.empty()) {
    throw FormatError((files.empty() ? "no files" : files[0].string()) +
                      ": expected lines with labels, got none");
  }
  return summary;
}

LabelParser::LabelParser(std::vector<std::string> names, ProblemType problem_type,
                         std::optional<LabelLists> lists)
    : names_(std::move(names)),
      problem_type_(problem_type),
      lists_(lists),
      numbered_(std::ranges::none_of(names_, is_class_number)) {}

LabelValue LabelParser::parse(const LabelledText& text) const {
  const std::string& where = text.where;
  if (!text.of_table) return parse(text.label, where);
  const auto& label = text.label.get_ref<const std::string&>();
  if (problem_type_ == ProblemType::regression) {
    return parse(table_number(label).value_or(text.label), where);
  }
  const bool named = std::ranges::find(names_, label) != names_.end();
  const auto number = class_number(label);
  const bool by_number = !named && numbered_ && number;
  if (!named && !numbered_) refuse(where, label_names(names_), label);
  return parse(by_number ? json(*number) : text.label, where);
}

LabelValue LabelParser::parse(const json& label, const std::string& where) const {
  LabelValue result;
  if (problem_type_ == ProblemType::single_label_classification) {
    result.label_class = class_of(label, where);
    return result;
  }
  const bool numbers =
      label.is_array() &&
      (lists_ == LabelLists::multi_hot ||
       std::ranges::any_of(label, [](const json& item) { return item.is_number_float(); }));
  if (problem_type_ == ProblemType::regression || numbers) {
    const std::string expected =
        num_labels() == 1 ? "a number" : "a list of " + std::to_string(num_labels()) + " numbers";
    if (label.is_array()) {
      if (label.size() != names_.size()) refuse(where, expected, label);
      for (const json& item : label) result.values.push_back(number(item, where));
    } else {
      if (num_labels() != 1) refuse(where, expected, label);
      result.values.push_back(number(label, where));
    }
    return result;
  }
  if (!label.is_array()) refuse(where, "a list of classes", label);
  if (!lists_) check_list(label, where);
  result.values.resize(names_.size());
  for (const json& item : label) {
    float& value = result.values[static_cast<std::size_t>(class_of(item, where))];
    if (value != 0) refuse(where, "each class once", label);
    value = 1;
  }
  return result;
}

// [0, 1] may be two classes or, for two, the second alone.
void LabelParser::check_list(const json& label, const std::string& where) const {
  const bool doubtful = label.size() > 1 && label.size() == names_.size() &&
                        std::ranges::all_of(label, [](const json& item) {
                          return item.is_number_integer() && item >= 0 && item <= 1;
                        });
  if (!doubtful) return;
  refuse(where,
         "a recipe that says with data.label_lists whether integers are classes or multi_hot, a 0 "
         "or 1 for each class",
         label);
}

std::int64_t LabelParser::class_of(const json& label, const std::string& where) const {
  if (label.is_string()) {
    const auto found = std::ranges::find(names_, label.get_ref<const std::string&>());
    if (found != names_.end()) return found - names_.begin();
  } else if (label.is_number_unsigned() && label.get<std::uint64_t>() < names_.size()) {
    return label.get<std::int64_t>();
  }
  refuse(where, "0.." + std::to_string(num_labels() - 1) + " or " + label_names(names_), label);
}

float LabelParser::number(const json& label, const std::string& where) const {
  if (!label.is_number()) refuse(where, "a number", label);
  const auto value = label.get<float>();
  const bool target = problem_type_ == ProblemType::multi_label_classification;
  if (!std::isfinite(value)) refuse(where, "a number that fits float32", label);
  if (target && (value < 0 || value > 1)) {
    refuse(where, "numbers of 0..1, or model.problem_type=regression for numbers to predict",
           label);
  }
  return value;
}

}  // namespace diffllama
