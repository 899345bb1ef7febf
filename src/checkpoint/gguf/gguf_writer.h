#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "checkpoint/gguf/gguf.h"
#include "checkpoint/tensor_source.h"

namespace diffllama {

/// Writes GGUF files of version 3, with tensor data aligned to 32 bytes. Keys come in the order in
/// which they were first set.
class GgufWriter {
 public:
  /// Sets a key; one that is there takes the new value. Strings may hold any bytes.
  void set(std::string_view key, std::uint32_t value);
  void set(std::string_view key, float value);
  void set(std::string_view key, bool value);
  void set(std::string_view key, std::string_view value);
  void set(std::string_view key, const char* value) { set(key, std::string_view(value)); }
  void set(std::string_view key, std::span<const std::string> values);
  void set(std::string_view key, std::span<const std::int32_t> values);
  void set(std::string_view key, std::span<const float> values);
  /// A value of another file, as it is there.
  void set(std::string_view key, const GgufValue& value);

  /// Writes the file atomically (AtomicFile), a piece of a tensor at a time, tensors in the order
  /// given. Names are GGUF's, shapes outermost first. With `part_bytes` what does not fit into one
  /// file with so many bytes of tensors becomes parts (gguf_part_path; path without ".gguf" is the
  /// prefix) as llama-gguf-split cuts them, each with one tensor at least; the first part, which
  /// opens the model, appears last. Throws IoError; InvalidArgument for a name that comes twice or
  /// is longer than 64 bytes, a scalar, an empty tensor, rows of broken blocks and dtypes that GGUF
  /// does not have.
  void write(const std::filesystem::path& path, const std::vector<TensorSource>& tensors,
             std::uint64_t part_bytes = 0) const;

 private:
  /// `bytes`: the type's number and the value.
  void put(std::string_view key, std::string bytes);

  std::vector<std::pair<std::string, std::string>> keys_;
};

}  // namespace diffllama
