#include "checkpoint/adapter/lora_layout.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "base/json.h"
#include "config/json_fields.h"
#include "tokenizer/pattern.h"

namespace diffllama {
namespace {

std::string quoted(const std::string& text) { return json_excerpt(nlohmann::json(text)); }

// Python's re.fullmatch: of a whole path, or as re.match("(.*\.)?(EXPRESSION)$") has it, of a
// path's end after a dot.
class PathExpression {
 public:
  enum class Of { path, end };
  PathExpression(const std::string& expression, Of of, const std::string& where)
      : pattern_(anchored(expression, of, where)), matcher_(pattern_) {}

  bool matches(const std::string& path) {
    matcher_.find(path, parts_);
    return parts_.size() == 1 && parts_.front().matched;
  }

 private:
  static Pattern anchored(const std::string& expression, Of of, const std::string& where) {
    Pattern::regex(expression, where);  // alone: "a)|(b" is none
    const char* begin = of == Of::path ? R"(\A(?:)" : R"(\A(?:.*\.)?(?:)";
    return Pattern::regex(begin + expression + R"()\z)", where);
  }

  Pattern pattern_;
  Pattern::Matcher matcher_;
  std::vector<Match> parts_;
};

// PEFT's target_modules and exclude_modules: a list of paths or their ends, or an expression.
class ModuleSelection {
 public:
  ModuleSelection(const std::vector<std::string>& names, const std::string& expression,
                  const std::string& where) {
    if (expression.empty()) {
      names_.insert(names.begin(), names.end());
    } else {
      expression_.emplace(expression, PathExpression::Of::path, where);
    }
  }
  bool contains(const std::string& path) {
    if (expression_) return expression_->matches(path);
    for (std::size_t begin = 0; begin != std::string::npos;) {
      if (names_.contains(path.substr(begin))) return true;
      const std::size_t dot = path.find('.', begin);
      begin = dot == std::string::npos ? dot : dot + 1;
    }
    return false;
  }

 private:
  std::set<std::string> names_;
  std::optional<PathExpression> expression_;
};

// rank_pattern or alpha_pattern: the first expression that fits gives the value.
template <class Value>
class ModuleValues {
 public:
  ModuleValues(const std::map<std::string, Value>& values, Value otherwise,
               const std::string& where)
      : otherwise_(otherwise) {
    for (const auto& [expression, value] : values) {
      values_.emplace_back(
          std::make_unique<PathExpression>(expression, PathExpression::Of::end, where), value);
    }
  }
  Value of(const std::string& path) {
    for (auto& [expression, value] : values_) {
      if (expression->matches(path)) return value;
    }
    return otherwise_;
  }

 private:
  std::vector<std::pair<std::unique_ptr<PathExpression>, Value>> values_;
  Value otherwise_;
};

bool is_all_linear(const std::string& expression) {
  constexpr std::string_view kName = "all-linear";
  return std::ranges::equal(expression, kName, {}, [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
}

class LayoutBuilder {
 public:
  LayoutBuilder(const LoraConfig& config, const ModelConfig& model, std::string where)
      : config_(config),
        model_(model),
        where_(std::move(where)),
        all_linear_(is_all_linear(config.target_expression)),
        targets_(config.target_modules, all_linear_ ? "" : config.target_expression,
                 where_ + ": target_modules"),
        excluded_(config.exclude_modules, config.exclude_expression, where_ + ": exclude_modules"),
        ranks_(config.rank_pattern, config.rank, where_ + ": rank_pattern"),
        alphas_(config.alpha_pattern, config.alpha, where_ + ": alpha_pattern") {}

  LoraLayout build() {
    for (const TensorSpec& spec : tensor_specs(model_)) {
      if (is_saved(spec.name)) layout_.saved.push_back(spec);
      // Every module that holds the parameter, outermost first; the last is its own.
      for (std::size_t dot = spec.name.find('.'); dot != std::string::npos;
           dot = spec.name.find('.', dot + 1)) {
        visit(spec.name.substr(0, dot), spec);
      }
    }
    if (layout_.targets.empty()) {
      const std::string& expression = config_.target_expression;
      reject_field(where_, "target_modules", "some linear layers of the model",
                   expression.empty()
                       ? json_excerpt(nlohmann::json(config_.target_modules)) + ", which name none"
                       : quoted(expression) + ", which matches none");
    }
    return std::move(layout_);
  }

 private:
  void visit(const std::string& module, const TensorSpec& spec) {
    if (!visited_.insert(module).second) return;
    const bool linear = spec.name == module + ".weight" && spec.shape.size() == 2 &&
                        !module.ends_with("embed_tokens");
    if (!is_targeted(module, linear)) return;
    if (!linear) {
      reject_field(where_, "target_modules", "linear layers, the ones that are supported",
                   quoted(module));
    }
    if (is_saved(spec.name)) {
      reject_field(where_, "modules_to_save", "modules that target_modules does not name too",
                   quoted(module));
    }
    const std::int64_t rank = ranks_.of(module);
    const auto r = static_cast<double>(rank);
    const double scaling = alphas_.of(module) / (config_.rslora ? std::sqrt(r) : r);
    layout_.targets.push_back(
        {module, spec.shape[0], spec.shape[1], rank, static_cast<float>(scaling)});
  }

  // "all-linear" leaves out the output embeddings.
  bool is_targeted(const std::string& module, bool linear) {
    if (excluded_.contains(module) || lies_in_saved(module)) return false;
    return all_linear_ ? linear && module != "lm_head" : targets_.contains(module);
  }

  // PEFT wraps every module whose path ends so, whatever stands before.
  bool is_saved(const std::string& parameter) const {
    for (std::size_t dot = parameter.find('.'); dot != std::string::npos;
         dot = parameter.find('.', dot + 1)) {
      const std::string_view module = std::string_view(parameter).substr(0, dot);
      if (std::ranges::any_of(config_.modules_to_save,
                              [&](const std::string& name) { return module.ends_with(name); })) {
        return true;
      }
    }
    return false;
  }

  // But keeps LoRA away only from where the name is a whole part of the path.
  bool lies_in_saved(const std::string& module) const {
    const std::string path = "." + module + ".";
    return std::ranges::any_of(config_.modules_to_save, [&](const std::string& name) {
      return path.find("." + name + ".") != std::string::npos;
    });
  }

  const LoraConfig& config_;
  const ModelConfig& model_;
  std::string where_;
  bool all_linear_;
  ModuleSelection targets_, excluded_;
  ModuleValues<std::int64_t> ranks_;
  ModuleValues<double> alphas_;
  std::set<std::string> visited_;
  LoraLayout layout_;
};

}  // namespace

std::vector<TensorSpec> LoraLayout::tensors() const {
  std::vector<TensorSpec> specs;
  for (const LoraTarget& target : targets) {
    specs.push_back({.name = target.a_name(), .gguf_name = "", .shape = {target.rank, target.in}});
    specs.push_back({.name = target.b_name(), .gguf_name = "", .shape = {target.out, target.rank}});
  }
  specs.insert(specs.end(), saved.begin(), saved.end());
  return specs;
}

LoraLayout lora_layout(const LoraConfig& config, const ModelConfig& model,
                       const std::string& where) {
  validate(config, where);
  return LayoutBuilder(config, model, where).build();
}

}  // namespace diffllama
