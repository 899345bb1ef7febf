#include <pthread.h>

#include <atomic>
#include <tuple>

#include "bindings.h"
#include "diffllama/error.h"
#include "diffllama/training.h"

namespace diffllama::python {
namespace {

std::atomic<int> forks{0};  // that this process has gone through as a child

// The class `name` of Python for the errors T, a kind of `first` and of `second` (may be null).
template <class T>
nb::object bind_error(nb::module_& module, const char* name, nb::handle first, nb::handle second,
                      const char* doc) {
  nb::object bases =
      second.is_valid() ? nb::object(nb::make_tuple(first, second)) : nb::borrow<nb::object>(first);
  nb::exception<T> error(module, name, bases);
  error.attr("__doc__") = doc;
  error.attr("__module__") = "diffllama";
  return error;
}

}  // namespace

ModelHolder::ModelHolder(Model loaded)
    : model(std::make_unique<Model>(std::move(loaded))), forks(python::forks) {}

ModelHolder::~ModelHolder() {
  if (forks != python::forks) static_cast<void>(model.release());
}

Model& ModelHolder::get() const {
  if (forks != python::forks) {
    throw Error(
        "expected a model of this process, got one that was loaded before it was forked, whose "
        "threads are not here; load it here, or start processes with multiprocessing's \"spawn\"");
  }
  return *model;
}

WarningHandler python_warnings() {
  return [](const std::string& text) {
    const nb::gil_scoped_acquire gil;
    if (PyErr_WarnEx(PyExc_UserWarning, text.c_str(), 2) != 0) throw nb::python_error();
  };
}

void check_signals() {
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
}

void bind_errors(nb::module_& module) {
  // Later ones are asked first: the base comes before its kinds.
  const nb::object error =
      bind_error<Error>(module, "Error", PyExc_RuntimeError, nullptr,
                        "Base of what this library raises for input that it cannot use.");
  bind_error<IoError>(module, "IoError", error, PyExc_OSError,
                      "A file that cannot be opened, mapped, read or written.");
  bind_error<FormatError>(module, "FormatError", error, PyExc_ValueError,
                          "A file that was read but is broken or not supported.");
  bind_error<ConfigError>(module, "ConfigError", error, PyExc_ValueError,
                          "A field of a configuration or recipe that is not allowed.");
  bind_error<InvalidArgument>(module, "InvalidArgument", error, PyExc_ValueError,
                              "Arguments of a call that do not fit.");
  bind_error<TrainingError>(module, "TrainingError", error, nullptr,
                            "A loss or gradient that is not finite, or a spike of the loss.");
}

}  // namespace diffllama::python

NB_MODULE(_core, module) {
  namespace python = diffllama::python;
  namespace nb = nanobind;
  pthread_atfork(nullptr, nullptr, [] { ++python::forks; });
  // What a script still holds when Python ends, in a thread or a module, is no leak of its own.
  nb::set_leak_warnings(false);
  module.doc() = "The engine of diffllama.cpp; the package diffllama is what to use.";
  python::bind_errors(module);
  python::bind_model(module);
  python::bind_tokenizer(module);
  python::bind_generation(module);
  python::bind_engine(module);
  python::bind_training(module);
  python::bind_microscope(module);
  python::bind_tasks(module);
}
