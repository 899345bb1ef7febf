#pragma once

#include <stdexcept>
#include <string>

namespace [[gnu::visibility("default")]] diffllama {

/// Base of everything this library throws for input it cannot use. The message is one line: what
/// was expected, what was found, and where. Failures of our own invariants are asserts, never an
/// Error.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A file that cannot be opened, mapped, read or written. The message names the path and the
/// system's reason.
class IoError : public Error {
 public:
  using Error::Error;
};

/// A file that was read but is broken or not supported: safetensors, GGUF, JSON, tokenizer. Names
/// file, field, found and allowed values.
class FormatError : public Error {
 public:
  using Error::Error;
};

/// A model or generation configuration with a field that is not allowed. Names the field, its value
/// and what is allowed.
class ConfigError : public Error {
 public:
  using Error::Error;
};

/// A call with arguments that do not fit: shapes, token ids out of range, options out of range.
class InvalidArgument : public Error {
 public:
  using Error::Error;
};

}  // namespace diffllama
