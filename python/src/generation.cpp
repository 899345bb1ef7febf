#include "diffllama/generation.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include "bindings.h"
#include "diffllama/constraint.h"
#include "diffllama/error.h"
#include "diffllama/logits_processor.h"

namespace diffllama::python {
namespace {

using nb::literals::operator""_a;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kSignalInterval(20);

// A function of Python from ids [T] and scores [V] to scores [V].
class PythonProcessor : public LogitsProcessor {
 public:
  explicit PythonProcessor(nb::callable function) : function_(std::move(function)) {}
  PythonProcessor(const PythonProcessor&) = delete;
  PythonProcessor& operator=(const PythonProcessor&) = delete;
  ~PythonProcessor() override {
    const nb::gil_scoped_acquire gil;
    function_.reset();
  }

  void process(std::span<const std::int64_t> ids, std::span<float> scores) override {
    const nb::gil_scoped_acquire gil;
    try {
      call(ids, scores);
    } catch (const Error&) {
      raised_ = std::current_exception();
      throw;
    } catch (nb::python_error& error) {
      // The step loop makes a refusal of what is thrown, of which generate raises this again.
      raised_ = std::current_exception();
      throw Error("logits_processor: " + nb::cast<std::string>(nb::repr(error.value())));
    }
  }
  void raise_again() const {
    if (raised_) std::rethrow_exception(raised_);
  }

 private:
  void call(std::span<const std::int64_t> ids, std::span<float> scores) {
    // Copies: Python may keep what it gets.
    const nb::object result =
        function_(to_numpy(Tensor::from(ids, {static_cast<std::int64_t>(ids.size())})),
                  to_numpy(Tensor::from(std::span<const float>(scores),
                                        {static_cast<std::int64_t>(scores.size())})));
    const std::optional<Tensor> changed = to_tensor(result, "scores", DType::float32);
    if (!changed || changed->size() != static_cast<std::int64_t>(scores.size())) {
      throw InvalidArgument("logits_processor: expected " + std::to_string(scores.size()) +
                            " scores, got " +
                            (changed ? to_string(changed->shape()) : std::string("None")));
    }
    std::ranges::copy(std::as_const(*changed).f32(), scores.begin());
  }

  nb::callable function_;
  std::exception_ptr raised_;
};

std::shared_ptr<const Constraint> make_constraint(const std::string& kind, const std::string& text,
                                                  const TokenizerHolder& tokenizer) {
  const nb::gil_scoped_release release;
  if (kind == "regex") return Constraint::from_regex(text, tokenizer.tokenizer);
  if (kind == "grammar") return Constraint::from_grammar(text, tokenizer.tokenizer);
  return Constraint::from_json_schema(text, tokenizer.tokenizer);
}

nb::list generate_batch(ModelHolder& self, const std::vector<std::vector<std::int64_t>>& prompts,
                        const GenerationConfig& config, const TokenizerHolder* tokenizer,
                        const nb::object& on_token, ModelHolder* assistant,
                        const std::vector<std::vector<std::int64_t>>& negative_prompts) {
  const Model& model = self.get();
  Clock::time_point looked = Clock::now();
  const auto callback = [&](std::int64_t sequence, std::int64_t id, const std::string&) {
    if (on_token.is_none()) {  // the GIL may have to be waited for: signals alone can wait
      const Clock::time_point now = Clock::now();
      if (now - looked < kSignalInterval) return;
      looked = now;
    }
    const nb::gil_scoped_acquire gil;
    check_signals();
    if (!on_token.is_none()) on_token(sequence, id);
  };
  std::vector<GeneratedSequence> sequences;
  try {
    const nb::gil_scoped_release release;
    const Turn turn(self, assistant);
    sequences =
        generate(model, prompts, config, tokenizer == nullptr ? nullptr : &tokenizer->tokenizer,
                 callback, assistant == nullptr ? nullptr : &assistant->get(), negative_prompts);
  } catch (const Error&) {
    for (const auto& processor : config.logits_processors) {
      if (const auto* own = dynamic_cast<const PythonProcessor*>(processor.get())) {
        own->raise_again();
      }
    }
    throw;
  }
  nb::list list;
  for (const GeneratedSequence& sequence : sequences) {
    list.append(nb::make_tuple(sequence.prompt_index, sequence.ids, sequence.text,
                               stop_reason_name(sequence.stop_reason), sequence.score));
  }
  return list;
}

using Row = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

std::span<float> span_of(Row& row) { return {row.data(), row.shape(0)}; }

void bind_config(nb::module_& module) {
  nb::class_<GenerationConfig>(module, "GenerationConfig", "Options of generation.")
      .def(nb::init<>())
      .def_static(
          "from_pretrained",
          [](const std::filesystem::path& path) {
            return GenerationConfig::from_pretrained(path, python_warnings());
          },
          "path"_a)
      .def(
          "update",
          [](GenerationConfig& self, const std::string& json, const std::string& where) {
            self.update(json, where);
          },
          "json"_a, "where"_a = "generation options")
      .def("validate", &GenerationConfig::validate)
      .def("to_json", &GenerationConfig::to_json)
      .def_rw("eos_token_ids", &GenerationConfig::eos_token_ids)
      .def_rw("max_length", &GenerationConfig::max_length)
      .def(
          "add_processor",
          [](GenerationConfig& self, nb::callable function) {
            self.logits_processors.push_back(
                std::make_shared<PythonProcessor>(std::move(function)));
          },
          "function"_a)
      .def(
          "constrain",
          [](GenerationConfig& self, const std::string& kind, const std::string& text,
             const TokenizerHolder& tokenizer) {
            self.constraint = make_constraint(kind, text, tokenizer);
          },
          "kind"_a, "text"_a, "tokenizer"_a);
}

}  // namespace

void bind_generation(nb::module_& module) {
  bind_config(module);
  module.def("generate", &generate_batch, "model"_a, "prompts"_a, "config"_a,
             "tokenizer"_a.none() = nb::none(), "on_token"_a.none() = nb::none(),
             "assistant"_a.none() = nb::none(),
             "negative_prompts"_a = std::vector<std::vector<std::int64_t>>());
  nb::class_<Continuation>(module, "Continuation", "One sequence of a caller who runs the model.")
      .def(
          "__init__",
          [](Continuation* self, const GenerationConfig& config, std::vector<std::int64_t> prompt,
             const TokenizerHolder* tokenizer, std::uint64_t stream) {
            new (self) Continuation(config, std::move(prompt),
                                    tokenizer == nullptr ? nullptr : &tokenizer->tokenizer, stream);
          },
          "config"_a, "prompt"_a, "tokenizer"_a.none() = nb::none(), "stream"_a = 0,
          nb::keep_alive<1, 4>())
      .def_prop_ro("stop_reason",
                   [](const Continuation& self) -> std::optional<std::string> {
                     const auto reason = self.stop_reason();
                     if (!reason) return std::nullopt;
                     return stop_reason_name(*reason);
                   })
      .def_prop_ro("ids", [](const Continuation& self) { return self.ids(); })
      .def("text", &Continuation::text)
      .def(
          "adjust", [](Continuation& self, Row logits) { self.adjust(span_of(logits)); },
          "logits"_a)
      .def(
          "warp", [](Continuation& self, Row scores) { self.warp(span_of(scores)); }, "scores"_a)
      .def(
          "choose", [](Continuation& self, Row scores) { return self.choose(span_of(scores)); },
          "scores"_a)
      .def(
          "push", [](Continuation& self, std::int64_t id) { self.push(id); }, "id"_a);
  module.def("generation_options", [] {
    nb::list list;
    for (const GenerationOption& option : generation_options()) {
      list.append(nb::make_tuple(option.name, option.help, option.default_value));
    }
    return list;
  });
}

}  // namespace diffllama::python
