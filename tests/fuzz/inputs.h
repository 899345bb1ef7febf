#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace diffllama::fuzz {

/// Bytes as a file that readers of paths can open, in memory.
class InputFile {
 public:
  explicit InputFile(std::span<const std::byte> bytes);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  std::filesystem::path path() const;

 private:
  int file_;
};

/// A folder of this process, gone with it.
class ScratchFolder {
 public:
  ScratchFolder();
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// A LoRA adapter with a new head, whose weights are to come.
class AdapterFolder : public ScratchFolder {
 public:
  AdapterFolder();
  /// Lets adapter_model.safetensors be that file.
  void link_weights(const std::filesystem::path& weights) const;
};

/// A trainer_state.json with the checksum that its other fields have: past that door lies what is
/// to be tried. Throws FormatError for what is no JSON object.
std::string with_checksum(std::string_view text);

/// The same for a token shard's two checksums, where the bytes are as many as a header.
void forge_shard_checksums(std::string& shard);

}  // namespace diffllama::fuzz
