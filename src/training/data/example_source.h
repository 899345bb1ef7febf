#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "diffllama/model.h"
#include "training/measures/measurement.h"

namespace diffllama {

/// Examples for training and evaluation: each a function of its index alone. Immutable; serves any
/// number of threads.
class ExampleSource {
 public:
  ExampleSource() = default;
  virtual ~ExampleSource() = default;
  ExampleSource(const ExampleSource&) = delete;
  ExampleSource& operator=(const ExampleSource&) = delete;

  /// Examples of an epoch.
  virtual std::int64_t size() const = 0;
  /// The examples as one batch, as `forward` takes it: input_ids, labels or positions, and
  /// position_ids where sequences are packed: nothing is padded. Throws InvalidArgument for no
  /// examples and for indices outside 0..size()-1.
  virtual ForwardInputs collate(std::span<const std::int64_t> examples) const = 0;
  /// Tokens of an example, for rates.
  virtual std::int64_t tokens(std::int64_t example) const = 0;
  /// Examples that were longer than they may be and lost their end.
  virtual std::int64_t cut() const { return 0; }
  /// For one evaluation of the examples, in order; null: by the loss alone. `sink` gets the
  /// predictions. The source must outlive it.
  // NOLINTNEXTLINE(performance-unnecessary-value-param): sources that measure keep it
  virtual std::unique_ptr<Measurement> measurement(PredictionSink /*sink*/) const {
    return nullptr;
  }

 protected:
  /// Throws as collate does.
  void check_examples(std::span<const std::int64_t> examples) const;
};

}  // namespace diffllama
