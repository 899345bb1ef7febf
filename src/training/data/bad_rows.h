#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "diffllama/error.h"

namespace diffllama {

/// One bad row too many.
class BadRowsLimit : public FormatError {
 public:
  using FormatError::FormatError;
};

/// Counts the rows of data that cannot be used, and lets so many of them pass (--skip-bad-rows).
class BadRows {
 public:
  explicit BadRows(std::int64_t limit = 0) : limit_(limit) {}

  /// Skips a row; throws its error when it is one too many.
  void skip(const std::string& error) {
    if (count_ >= limit_) {
      throw BadRowsLimit(
          error +
          (limit_ == 0 ? "" : "; " + std::to_string(count_) + " bad rows were skipped before"));
    }
    if (count_++ == 0) first_ = error;
  }
  /// Calls next() until it neither throws FormatError nor the limit is reached; gives what it does.
  template <class Next>
  bool next_good(const Next& next) {
    while (true) {
      try {
        return next();
      } catch (const FormatError& error) {
        skip(error.what());
      }
    }
  }

  std::int64_t count() const { return count_; }
  /// What was wrong with the first of them.
  const std::string& first() const { return first_; }

 private:
  std::int64_t limit_;
  std::int64_t count_ = 0;
  std::string first_;
};

}  // namespace diffllama
