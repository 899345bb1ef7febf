#pragma once

#include <filesystem>
#include <string>

#include "checkpoint/test_files.h"
#include "diffllama/error.h"
#include "diffllama/tokenizer.h"

namespace diffllama {

/// A folder of its own for a test, which goes with it.
class TestFolder : public TestDirectory {
 public:
  std::filesystem::path operator/(const std::string& name) const { return path() / name; }
};

inline std::filesystem::path tiny_directory() {
  return DIFFLLAMA_SOURCE_DIR "/models/diffllama-tiny";
}

inline const Tokenizer& tiny_tokenizer() {
  static const Tokenizer tokenizer = Tokenizer::from_pretrained(tiny_directory());
  return tokenizer;
}

/// The message of the `Exception` that `body` throws.
template <class Exception = FormatError, class Body>
std::string message_of(const Body& body) {
  try {
    body();
  } catch (const Exception& error) {
    return error.what();
  }
  return "nothing was thrown";
}

}  // namespace diffllama
