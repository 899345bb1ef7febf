#include "diffllama/engine.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <thread>
#include <utility>

#include "bindings.h"
#include "diffllama/error.h"

namespace diffllama::python {
namespace {

using nb::literals::operator""_a;

// An engine and the models it runs: a step takes its turn with them, as every call that computes.
struct EngineHolder {
  ModelHolder& model;
  ModelHolder* assistant;
  Engine engine;
  std::mutex stepping;  // one thread steps at a time
  std::atomic<std::thread::id> stepper;
};

// Says which thread steps, for as long as it does.
class Stepping {
 public:
  explicit Stepping(std::atomic<std::thread::id>& stepper) : stepper_(stepper) {
    stepper_.store(std::this_thread::get_id());
  }
  ~Stepping() { stepper_.store(std::thread::id()); }
  Stepping(const Stepping&) = delete;
  Stepping& operator=(const Stepping&) = delete;

 private:
  std::atomic<std::thread::id>& stepper_;
};

nb::tuple logprobs_tuple(const TokenLogprobs& logprobs) {
  nb::list top;
  for (const auto& candidate : logprobs.top) {
    top.append(nb::make_tuple(candidate.id, candidate.logprob));
  }
  return nb::make_tuple(logprobs.logprob, top);
}

nb::object logits_array(const std::vector<float>& logits) {
  if (logits.empty()) return nb::none();
  return to_numpy(Tensor::from(logits, {static_cast<std::int64_t>(logits.size())}));
}

nb::dict to_dict(const StepEvents& events) {
  nb::list prompts, tokens, endings, refusals;
  for (const PromptResult& prompt : events.prompts) {
    nb::list logprobs;
    for (const TokenLogprobs& each : prompt.logprobs) logprobs.append(logprobs_tuple(each));
    prompts.append(nb::make_tuple(
        prompt.request, prompt.cached_tokens, logprobs,
        prompt.hidden_states.empty() ? nb::none() : to_numpy(Tensor(prompt.hidden_states))));
  }
  for (const NewToken& token : events.tokens) {
    tokens.append(
        nb::make_tuple(token.request, token.sequence, token.id, token.text,
                       token.logprobs ? nb::object(logprobs_tuple(*token.logprobs)) : nb::none(),
                       logits_array(token.logits)));
  }
  for (const Ending& ending : events.endings) {
    endings.append(nb::make_tuple(ending.request, ending.sequence, stop_reason_name(ending.reason),
                                  ending.score));
  }
  for (const Refusal& refusal : events.refusals) {
    refusals.append(nb::make_tuple(refusal.request, refusal.message));
  }
  nb::dict dict;
  dict["prompts"] = prompts;
  dict["tokens"] = tokens;
  dict["endings"] = endings;
  dict["refusals"] = refusals;
  return dict;
}

nb::dict step(EngineHolder& self) {
  static_cast<void>(self.model.get());
  if (self.stepper == std::this_thread::get_id()) {
    throw InvalidArgument("step: expected no step of this engine in a callback of its own step");
  }
  const StepEvents* events = nullptr;
  // The events live until the next step: they are read before another thread may step.
  std::unique_lock<std::mutex> stepping(self.stepping, std::defer_lock);
  {
    const nb::gil_scoped_release release;
    stepping.lock();
    const Turn turn(self.model, self.assistant);
    const Stepping here(self.stepper);
    events = &self.engine.step();
  }
  return to_dict(*events);
}

RequestId add(EngineHolder& self, std::vector<std::int64_t> ids, const GenerationConfig& config,
              int priority, bool prompt_only, std::optional<std::int64_t> logprobs,
              std::optional<std::int64_t> prompt_logprobs, const std::string& hidden_states,
              bool logits) {
  Request request;
  request.ids = std::move(ids);
  request.config = config;
  request.priority = priority;
  request.prompt_only = prompt_only;
  request.logprobs = logprobs;
  request.prompt_logprobs = prompt_logprobs;
  request.logits = logits;
  if (hidden_states == "last") {
    request.hidden_states = PromptStates::last;
  } else if (hidden_states == "all") {
    request.hidden_states = PromptStates::all;
  } else if (hidden_states != "none") {
    throw InvalidArgument("hidden_states: expected none, last or all, got " + hidden_states);
  }
  return self.engine.add(std::move(request));
}

nb::dict counters(const EngineHolder& self) {
  const EngineCounters counters = self.engine.counters();
  nb::dict dict;
  dict["steps"] = counters.steps;
  dict["waiting"] = counters.waiting;
  dict["running"] = counters.running;
  dict["blocks"] = counters.blocks;
  dict["blocks_used"] = counters.blocks_used;
  dict["blocks_shared"] = counters.blocks_shared;
  dict["blocks_kept"] = counters.blocks_kept;
  dict["prompt_tokens"] = counters.prompt_tokens;
  dict["new_tokens"] = counters.new_tokens;
  dict["prefix_hit_tokens"] = counters.prefix_hit_tokens;
  dict["preemptions"] = counters.preemptions;
  dict["drafted_tokens"] = counters.drafted_tokens;
  dict["accepted_tokens"] = counters.accepted_tokens;
  return dict;
}

void make(EngineHolder* self, ModelHolder& model, const TokenizerHolder* tokenizer,
          std::size_t memory_bytes, std::int64_t max_step_tokens, std::int64_t max_sequences,
          bool prefix_cache, ModelHolder* assistant_model) {
  EngineOptions options;
  options.memory_bytes = memory_bytes;
  options.max_step_tokens = max_step_tokens;
  options.max_sequences = max_sequences;
  options.prefix_cache = prefix_cache;
  if (assistant_model != nullptr) options.assistant_model = &assistant_model->get();
  new (self) EngineHolder{
      model,
      assistant_model,
      Engine(model.get(), options, tokenizer == nullptr ? nullptr : &tokenizer->tokenizer),
      {},
      {}};
}

}  // namespace

void bind_engine(nb::module_& module) {
  nb::class_<EngineHolder>(module, "Engine", "Requests that come and go.")
      .def("__init__", &make, "model"_a, "tokenizer"_a.none() = nb::none(),
           "memory_bytes"_a = std::size_t{1} << 30, "max_step_tokens"_a = 512,
           "max_sequences"_a = 64, "prefix_cache"_a = true, "assistant_model"_a.none() = nb::none(),
           nb::keep_alive<1, 2>(), nb::keep_alive<1, 3>(), nb::keep_alive<1, 8>())
      .def("add", &add, "ids"_a, "config"_a, "priority"_a = 0, "prompt_only"_a = false,
           "logprobs"_a = nb::none(), "prompt_logprobs"_a = nb::none(), "hidden_states"_a = "none",
           "logits"_a = false)
      .def(
          "cancel", [](EngineHolder& self, RequestId id) { self.engine.cancel(id); }, "request"_a)
      .def("has_work", [](const EngineHolder& self) { return self.engine.has_work(); })
      .def(
          "wait", [](const EngineHolder& self, double seconds) { self.engine.wait(seconds); },
          "seconds"_a, nb::call_guard<nb::gil_scoped_release>())
      .def("step", &step)
      .def("counters", &counters);
}

}  // namespace diffllama::python
