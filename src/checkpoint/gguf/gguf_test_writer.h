#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/gguf/gguf_types.h"
#include "checkpoint/test_files.h"

namespace diffllama {

/// A GGUF string: its length and its bytes.
inline std::string gguf_string(const std::string& text) {
  return raw<std::uint64_t>(text.size()) + text;
}

/// Puts GGUF files together for tests, broken ones included: every number that the format derives
/// can be given another value.
struct GgufTestWriter {
  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;                  // of the data; not written by itself
  std::optional<std::uint64_t> claimed_tensors;  // in place of their number
  std::optional<std::uint64_t> claimed_keys;
  std::uint64_t tensors = 0;
  std::uint64_t keys = 0;
  std::string metadata, infos, data;

  /// `value` is what follows the type.
  void add(const std::string& key, std::uint32_t type, const std::string& value) {
    metadata += gguf_string(key) + raw(type) + value;
    ++keys;
  }
  void add(const std::string& key, std::uint32_t value) { add(key, 4, raw(value)); }
  void add(const std::string& key, float value) { add(key, 6, raw(value)); }
  void add(const std::string& key, bool value) { add(key, 7, std::string(1, value ? '\1' : '\0')); }
  void add(const std::string& key, const char* value) { add(key, 8, gguf_string(value)); }
  void add(const std::string& key, const std::string& value) { add(key, 8, gguf_string(value)); }
  void add(const std::string& key, const std::vector<std::string>& values) {
    std::string bytes = raw<std::uint32_t>(8) + raw<std::uint64_t>(values.size());
    for (const std::string& value : values) bytes += gguf_string(value);
    add(key, 9, bytes);
  }
  void add(const std::string& key, const std::vector<std::int32_t>& values) {
    std::string bytes = raw<std::uint32_t>(5) + raw<std::uint64_t>(values.size());
    for (const std::int32_t value : values) bytes += raw(value);
    add(key, 9, bytes);
  }

  /// Sizes are innermost first, as in the file.
  void add_info(const std::string& name, const std::vector<std::uint64_t>& sizes,
                std::uint32_t type, std::uint64_t offset) {
    infos += gguf_string(name) + raw(static_cast<std::uint32_t>(sizes.size()));
    for (const std::uint64_t size : sizes) infos += raw(size);
    infos += raw(type) + raw(offset);
    ++tensors;
  }
  /// A tensor with its bytes, after those before it.
  void add_tensor(const std::string& name, const std::vector<std::uint64_t>& sizes,
                  std::uint32_t type, const std::string& bytes) {
    data.resize((data.size() + alignment - 1) / alignment * alignment);
    add_info(name, sizes, type, data.size());
    data += bytes;
  }
  /// A float32 tensor whose element i is `first` + i.
  void add_counting(const std::string& name, const std::vector<std::uint64_t>& sizes,
                    float first = 0.0F) {
    std::uint64_t count = 1;
    for (const std::uint64_t size : sizes) count *= size;
    std::string bytes;
    for (std::uint64_t i = 0; i < count; ++i) bytes += raw(first + static_cast<float>(i));
    add_tensor(name, sizes, 0, bytes);
  }

  std::string bytes() const {
    std::string file = magic + raw(version) + raw(claimed_tensors.value_or(tensors)) +
                       raw(claimed_keys.value_or(keys)) + metadata + infos;
    file.resize((file.size() + alignment - 1) / alignment * alignment);
    return file + data;
  }
};

}  // namespace diffllama
