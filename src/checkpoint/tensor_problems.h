#pragma once

#include <string>

#include "checkpoint/checkpoint.h"
#include "checkpoint/codec/row_codec.h"
#include "diffllama/error.h"

namespace diffllama {

/// What is wrong with the tensors of a file, gathered so that one message names all of it.
class TensorProblems {
 public:
  void add_missing(const TensorSpec& spec) {
    add(missing_, spec.name + " " + to_string(spec.shape));
  }
  void add_unexpected(const std::string& name) { add(unexpected_, name); }
  /// Shape and dtype of a tensor that is there.
  void check(const TensorSpec& spec, const TensorView& stored) {
    if (stored.shape != spec.shape) {
      add(shapes_, spec.name + " (expected " + to_string(spec.shape) + ", got " +
                       to_string(stored.shape) + ")");
    }
    if (!is_weight_dtype(stored.dtype)) add_dtype(spec.name, std::string(dtype_name(stored.dtype)));
  }
  void add_dtype(const std::string& name, const std::string& dtype) {
    add(dtypes_, name + " (expected float32, float16 or bfloat16, got " + dtype + ")");
  }
  /// Throws FormatError "WHERE: expected EXPECTED; missing: ...; mis-shaped: ...", if there is any.
  void raise(const std::string& where, const std::string& expected) const {
    std::string text;
    const auto part = [&](const char* title, const std::string& list) {
      if (!list.empty()) text += (text.empty() ? "" : "; ") + std::string(title) + ": " + list;
    };
    part("missing", missing_);
    part("mis-shaped", shapes_);
    part("wrong type", dtypes_);
    part("unexpected", unexpected_);
    if (!text.empty()) throw FormatError(where + ": expected " + expected + "; " + text);
  }

 private:
  static void add(std::string& list, const std::string& item) {
    if (!list.empty()) list += ", ";
    list += item;
  }

  std::string missing_, shapes_, dtypes_, unexpected_;
};

}  // namespace diffllama
