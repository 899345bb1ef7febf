#include "diffllama/engine.h"

#include <optional>
#include <string>
#include <utility>

#include "api/model.h"
#include "diffllama/error.h"
#include "engine/step_loop.h"

namespace diffllama {
namespace {

SchedulerOptions scheduler_options(const Model::Impl& model, const EngineOptions& options) {
  const auto check = [](const char* name, std::int64_t value) {
    if (value >= 1) return;
    throw InvalidArgument(std::string("[engine] ") + name + ": expected at least 1, got " +
                          std::to_string(value));
  };
  check("max_step_tokens", options.max_step_tokens);
  check("max_sequences", options.max_sequences);
  const Model* const assistant = options.assistant_model;
  return {.max_blocks = blocks_in(*model.stack, options.cache_type, options.memory_bytes,
                                  assistant == nullptr ? nullptr : assistant->impl().stack.get()),
          .max_step_tokens = options.max_step_tokens,
          .max_sequences = options.max_sequences,
          .prefix_cache = options.prefix_cache,
          .cache_type = options.cache_type};
}

StepLoop make_loop(const Model& model, const EngineOptions& options, const Tokenizer* tokenizer) {
  std::optional<ForwardModel> assistant;
  if (options.assistant_model != nullptr) {
    assistant.emplace(options.assistant_model->impl().forward_model());
  }
  return StepLoop(model.impl().forward_model(), model.impl().parallel,
                  scheduler_options(model.impl(), options), tokenizer, model.impl().options.warn,
                  assistant ? &*assistant : nullptr);
}

}  // namespace

struct [[gnu::visibility("hidden")]] Engine::Impl {
  StepLoop loop;
};

Engine::Engine(const Model& model, const EngineOptions& options, const Tokenizer* tokenizer)
    : impl_(new Impl{make_loop(model, options, tokenizer)}) {}
Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;

RequestId Engine::add(Request request) { return impl_->loop.add(std::move(request)); }
void Engine::cancel(RequestId id) { impl_->loop.cancel(id); }
bool Engine::has_work() const { return impl_->loop.has_work(); }
void Engine::wait(double seconds) const { impl_->loop.wait(seconds); }
const StepEvents& Engine::step() { return impl_->loop.step(); }
EngineCounters Engine::counters() const { return impl_->loop.counters(); }

}  // namespace diffllama
