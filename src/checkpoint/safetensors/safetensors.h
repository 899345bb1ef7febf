#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "checkpoint/tensor_source.h"
#include "diffllama/tensor.h"

namespace diffllama {

/// A tensor of a dtype that this engine does not read.
struct UnreadTensor {
  std::string dtype;  // as the format names it
  Shape shape;
};

/// What a safetensors file holds: the format of github.com/huggingface/safetensors. Views point
/// into the file's bytes.
struct SafetensorsContent {
  std::map<std::string, TensorView> tensors;
  std::map<std::string, UnreadTensor> unread;
  std::map<std::string, std::string> metadata;  // "__metadata__"
};

/// Reads a safetensors file that lies in memory. Everything is checked: the tensors' bytes cover
/// the data exactly once, in any order of the header. All dtypes of the format are taken, and the
/// values of those with a DType. Besides `bytes` it takes at most 64 MiB. Throws FormatError that
/// starts with `where`.
SafetensorsContent parse_safetensors(std::span<const std::byte> bytes, const std::string& where);

/// A mapped safetensors file.
class SafetensorsFile {
 public:
  /// Throws IoError, for a Git LFS pointer too; FormatError.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_->path(); }
  const std::map<std::string, TensorView>& tensors() const { return content_.tensors; }
  const std::map<std::string, UnreadTensor>& unread() const { return content_.unread; }
  const std::map<std::string, std::string>& metadata() const { return content_.metadata; }
  /// Keeps the views valid after this object is gone.
  std::shared_ptr<const void> mapping() const { return file_; }

 private:
  std::shared_ptr<const MappedFile> file_;
  SafetensorsContent content_;
};

/// Writes the file atomically (AtomicFile), a piece of a tensor at a time, with the bytes that the
/// safetensors library writes: tensors by falling alignment and then by name, the header padded to
/// 8 bytes, metadata {"format": "pt"}. Throws IoError, and InvalidArgument for a name that comes
/// twice or a block-quantised dtype.
void write_safetensors(const std::filesystem::path& path, std::vector<TensorSource> tensors);

}  // namespace diffllama
