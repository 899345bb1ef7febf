#pragma once

// What the files of the extension module share: each binds one part of include/diffllama.

#include <nanobind/nanobind.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "diffllama/error.h"
#include "diffllama/model.h"
#include "diffllama/tensor.h"
#include "diffllama/tokenizer.h"

namespace diffllama::python {

namespace nb = nanobind;

/// A model that Python holds. One thread computes with it at a time: others wait, without the GIL.
struct ModelHolder {
  std::unique_ptr<Model> model;
  std::recursive_mutex mutex;  // of a Turn
  int turns = 0;               // of the thread that has the mutex
  int forks;                   // of this process when it was loaded

  explicit ModelHolder(Model loaded);
  /// After a fork the model's threads are not there: what would wait for them is left alone.
  ~ModelHolder();
  ModelHolder(const ModelHolder&) = delete;
  ModelHolder& operator=(const ModelHolder&) = delete;
  /// Throws Error in a process that was forked after the model was loaded.
  Model& get() const;
};

/// The time that a thread has a model, and its assistant (may be null), to itself. A callback of
/// Python that a step calls may run the same model again: every forward has scratch of its own.
class Turn {
 public:
  explicit Turn(ModelHolder& model, ModelHolder* assistant = nullptr)
      : holder_(model), lock_(model.mutex, std::defer_lock) {
    if (assistant == nullptr) {
      lock_.lock();
    } else {
      assistant_lock_ = std::unique_lock(assistant->mutex, std::defer_lock);
      std::lock(lock_, assistant_lock_);
    }
    ++holder_.turns;
  }
  ~Turn() { --holder_.turns; }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  ModelHolder& holder_;
  std::unique_lock<std::recursive_mutex> lock_, assistant_lock_;
};

/// task(model), without the GIL and alone with the model.
template <class Task>
auto compute(ModelHolder& self, const Task& task) {
  Model& model = self.get();
  const nb::gil_scoped_release release;
  const Turn turn(self);
  return task(model);
}

/// compute, for a task that changes the model. Throws InvalidArgument in a callback of a call that
/// is computing with it.
template <class Task>
void change(ModelHolder& self, const Task& task) {
  compute(self, [&](Model& model) {
    if (self.turns > 1) {
      throw InvalidArgument(
          "expected the model to stay as it is while it computes, got a change in a callback");
    }
    task(model);
  });
}

/// A tokenizer that Python holds.
struct TokenizerHolder {
  Tokenizer tokenizer;
};

/// The array `object` as a tensor of `dtype` (int64 or float32; absent: int64 for integers and
/// booleans, float32 for other numbers), or nothing for None. Memory of the right type is borrowed,
/// all other is converted. Anything with DLPack or Python's buffers. Throws InvalidArgument that
/// starts with `name`.
std::optional<Tensor> to_tensor(nb::handle object, const char* name,
                                std::optional<DType> dtype = DType::int64);
/// A numpy array of the tensor's memory, float32 or int64.
nb::object to_numpy(Tensor tensor);

/// Warnings go to Python's warnings.warn.
WarningHandler python_warnings();
/// Lets signals be handled (Ctrl-C); throws what a handler raised. Needs the GIL.
void check_signals();

void bind_errors(nb::module_& module);
void bind_model(nb::module_& module);
void bind_tokenizer(nb::module_& module);
void bind_generation(nb::module_& module);
void bind_engine(nb::module_& module);
void bind_training(nb::module_& module);
void bind_microscope(nb::module_& module);
void bind_tasks(nb::module_& module);

}  // namespace diffllama::python
