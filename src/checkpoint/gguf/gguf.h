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

/// The name of part `number` (from 0) of a model in `count` files: PREFIX-00001-of-00003.gguf.
std::filesystem::path gguf_part_path(const std::filesystem::path& prefix, std::int64_t number,
                                     std::int64_t count);
/// The paths of all parts, by the name of the first; none for another name.
std::vector<std::filesystem::path> gguf_parts_named(const std::filesystem::path& first);
inline constexpr const char* kSplitNumberKey = "split.no";
inline constexpr const char* kSplitCountKey = "split.count";
inline constexpr const char* kSplitTensorsKey = "split.tensors.count";

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
/// A model in several files, as llama-gguf-split writes it, is opened by the first of them, whose
/// name ends in "-00001-of-0000N.gguf" and whose keys count; the others lie beside it.
///
/// Typed access: an absent key gives nothing or an empty list, a value of another type throws a
/// FormatError that names file, key, expected and found type.
class GgufFile {
 public:
  /// Maps the file, and its other parts where it has any. Throws IoError, for a part that is not
  /// there and for a Git LFS pointer too; FormatError.
  explicit GgufFile(const std::filesystem::path& path);
  /// Reads a file that lies in memory and outlives this object; messages start with `where`.
  GgufFile(std::span<const std::byte> bytes, std::string where);

  const std::string& where() const { return where_; }
  /// The files, the first part first; none in memory.
  std::vector<std::filesystem::path> paths() const;
  /// "PATH: tensor NAME", PATH being the part that holds it.
  std::string tensor_where(const std::string& name) const;
  /// Keeps the tensors' bytes valid after this object is gone; null for a file in memory.
  std::shared_ptr<const void> mapping() const { return files_; }

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
  /// A size that may differ between layers elsewhere: an integer, or a list of int32 or uint32 with
  /// one entry for each of the layers, which must be equal.
  std::optional<std::int64_t> layer_size(std::string_view key, std::int64_t layers) const;

  /// Throws FormatError "WHERE: key KEY: expected EXPECTED, got FOUND".
  [[noreturn]] void refuse(std::string_view key, const std::string& expected,
                           const std::string& found) const;

 private:
  using Files = std::vector<std::shared_ptr<const MappedFile>>;

  friend class GgufParser;
  GgufFile() = default;
  /// Reads one file.
  void map(const std::filesystem::path& path);
  void add_parts();
  void add_part(const std::filesystem::path& path, std::int64_t number, std::int64_t count);
  const GgufValue* scalar(std::string_view key, const char* expected,
                          bool (*accepts)(GgufType)) const;
  const GgufValue* list(std::string_view key, const char* expected,
                        bool (*accepts)(GgufType)) const;

  std::shared_ptr<Files> files_;
  std::string where_;
  std::map<std::string_view, GgufValue> metadata_;
  std::map<std::string, TensorView> tensors_;
};

}  // namespace diffllama
