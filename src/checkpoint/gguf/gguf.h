#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "diffllama/tensor.h"

namespace diffllama {

/// Types of metadata values, with the numbers that the format gives them.
enum class GgufType : std::uint32_t {
  uint8 = 0,
  int8 = 1,
  uint16 = 2,
  int16 = 3,
  uint32 = 4,
  int32 = 5,
  float32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  uint64 = 10,
  int64 = 11,
  float64 = 12,
};

/// A metadata value as it lies in the file.
struct GgufValue {
  GgufType type = GgufType::uint8;  // of the elements, where it is an array
  bool is_array = false;
  std::uint64_t count = 1;           // elements
  std::span<const std::byte> bytes;  // each string is a uint64 length and its bytes
};

/// A GGUF file of version 2 or 3, little-endian (the format of github.com/ggml-org/ggml,
/// docs/gguf.md). Everything but the meaning of the keys is checked when it is opened: structure,
/// limits, alignment, and that the tensors' bytes lie inside the file and apart from each other.
/// Besides the file it takes at most 64 MiB.
///
/// Typed access: an absent key gives nothing or an empty list, a value of another type throws a
/// FormatError that names file, key, expected and found type.
class GgufFile {
 public:
  /// Maps the file. Throws IoError, FormatError.
  explicit GgufFile(const std::filesystem::path& path);
  /// Reads a file that lies in memory and outlives this object; messages start with `where`.
  GgufFile(std::span<const std::byte> bytes, std::string where);

  const std::string& where() const { return where_; }
  /// Keeps the tensors' bytes valid after this object is gone; null for a file in memory.
  std::shared_ptr<const void> mapping() const { return file_; }

  const std::map<std::string_view, GgufValue>& metadata() const { return metadata_; }
  /// Shapes are outermost first, the reverse of the file's order.
  const std::map<std::string, TensorView>& tensors() const { return tensors_; }

  /// Any of the integer types; past 2^63-1 it is refused.
  std::optional<std::int64_t> integer(std::string_view key) const;
  /// float32 or float64.
  std::optional<double> number(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key) const;
  /// Any bytes; valid while the file is.
  std::optional<std::string_view> text(std::string_view key) const;
  /// Elements of an array of any type; 0 where the key is absent.
  std::uint64_t array_size(std::string_view key) const;
  /// Lists of up to 1,000,000 elements.
  std::vector<std::string_view> texts(std::string_view key) const;
  std::vector<std::int64_t> integers(std::string_view key) const;
  std::vector<double> numbers(std::string_view key) const;

  /// Throws FormatError "WHERE: key KEY: expected EXPECTED, got FOUND".
  [[noreturn]] void refuse(std::string_view key, const std::string& expected,
                           const std::string& found) const;

 private:
  friend class GgufParser;
  const GgufValue* scalar(std::string_view key, const char* expected,
                          bool (*accepts)(GgufType)) const;
  const GgufValue* list(std::string_view key, const char* expected,
                        bool (*accepts)(GgufType)) const;

  std::shared_ptr<const MappedFile> file_;
  std::string where_;
  std::map<std::string_view, GgufValue> metadata_;
  std::map<std::string, TensorView> tensors_;
};

}  // namespace diffllama
