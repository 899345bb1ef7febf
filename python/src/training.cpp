#include "diffllama/training.h"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <exception>
#include <optional>

#include "bindings.h"
#include "diffllama/tensorboard.h"

namespace diffllama::python {
namespace {

using nb::literals::operator""_a;

nb::dict to_dict(const TrainingFacts& facts) {
  nb::dict dict;
  dict["parameters"] = facts.parameters;
  dict["trained"] = facts.trained;
  dict["examples"] = facts.examples;
  dict["validation_examples"] = facts.validation_examples;
  dict["max_steps"] = facts.max_steps;
  dict["first_step"] = facts.first_step;
  dict["first_tokens"] = facts.first_tokens;
  return dict;
}

nb::dict to_dict(const StepMetrics& metrics) {
  nb::dict dict;
  dict["step"] = metrics.step;
  dict["epoch"] = metrics.epoch;
  dict["loss"] = metrics.loss;
  dict["learning_rate"] = metrics.learning_rate;
  dict["gradient_norm"] = metrics.gradient_norm;
  dict["tokens"] = metrics.tokens;
  dict["tokens_per_second"] = metrics.tokens_per_second;
  dict["mfu"] = metrics.mfu ? nb::object(nb::float_(*metrics.mfu)) : nb::none();
  dict["skipped"] = metrics.skipped;
  nb::list lambdas, rms, smallest;
  for (const LayerWatch& layer : metrics.layers) {
    lambdas.append(layer.lambda);
    rms.append(layer.rms);
    smallest.append(layer.smallest_rms);
  }
  dict["lambda"] = lambdas;
  dict["rms"] = rms;
  dict["smallest_rms"] = smallest;
  return dict;
}

nb::dict to_dict(const EvaluationMetrics& metrics) {
  nb::dict dict;
  dict["step"] = metrics.step;
  dict["eval_loss"] = metrics.loss;
  for (const Measure& measure : metrics.measures) {
    dict[("eval_" + measure.name).c_str()] = measure.value;
  }
  return dict;
}

// What Python raised in a callback: the run is asked to stop, saves, and then it is raised.
class Raised {
 public:
  template <class Call>
  void guard(const Call& call) {
    if (error_) return;
    const nb::gil_scoped_acquire gil;
    try {
      call();
    } catch (...) {
      error_ = std::current_exception();
    }
  }
  bool any() const { return error_ != nullptr; }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::exception_ptr error_;
};

nb::dict train_recipe(const std::string& recipe, const nb::object& on_event, bool resume,
                      int threads, bool measure_peak, const std::filesystem::path& tensorboard) {
  Raised raised;
  const auto tell = [&](const char* event, const auto& payload) {
    raised.guard([&] { on_event(event, payload()); });
  };
  TrainingOptions options;
  options.resume = resume;
  options.threads = threads;
  options.measure_peak = measure_peak;
  options.warn = python_warnings();
  options.notice = [&](const std::string& line) { tell("notice", [&] { return nb::cast(line); }); };
  options.on_start = [&](const TrainingFacts& facts) {
    tell("start", [&] { return nb::object(to_dict(facts)); });
  };
  options.on_step = [&](const StepMetrics& metrics) {
    tell("step", [&] { return nb::object(to_dict(metrics)); });
  };
  options.on_evaluation = [&](const EvaluationMetrics& metrics) {
    tell("evaluation", [&] { return nb::object(to_dict(metrics)); });
  };
  options.on_save = [&](const std::filesystem::path& checkpoint) {
    tell("save", [&] { return nb::cast(checkpoint.string()); });
  };
  options.stop_requested = [&] {
    bool stop = false;
    raised.guard([&] {
      check_signals();
      stop = nb::cast<bool>(on_event("stop?", nb::none()));
    });
    return stop || raised.any();
  };
  TrainingEnd end;
  {
    const nb::gil_scoped_release release;
    if (!tensorboard.empty()) {
      options = with_event_file(options, tensorboard, complete_recipe(recipe));
    }
    end = train(recipe, options);
  }
  raised.rethrow();
  nb::dict dict;
  dict["finished"] = end.finished;
  dict["checkpoint"] = end.checkpoint.string();
  return dict;
}

}  // namespace

void bind_training(nb::module_& module) {
  module.def("train", &train_recipe, "recipe"_a, "on_event"_a, "resume"_a = false, "threads"_a = 0,
             "measure_peak"_a = false, "tensorboard"_a = "");
  module.def("complete_recipe", &complete_recipe, "recipe"_a, "where"_a = "recipe");
  module.def("set_recipe_field", &set_recipe_field, "recipe"_a, "name"_a, "value"_a);
  module.def("validate_recipe", &validate_recipe, "recipe"_a, "where"_a = "recipe");
  module.def("recipe_fields", [] {
    nb::list list;
    for (const RecipeField& field : recipe_fields()) {
      list.append(nb::make_tuple(field.name, field.default_value, field.help));
    }
    return list;
  });
}

}  // namespace diffllama::python
