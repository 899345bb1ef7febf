#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/mapped_file.h"

namespace diffllama {

/// A block of bytes in a packed copy. Nothing of it is read from the file: it follows from the
/// model.
struct PackedBlock {
  std::string name;  // whose panels they are, of which format and size
  std::size_t bytes = 0;
};

/// What a packed copy of a model must be: its blocks in order, and the files they were made from.
struct PackedFileSpec {
  std::vector<PackedBlock> blocks;
  std::uint64_t fingerprint = 0;  // file_fingerprint
};

/// A hash of the files' names, sizes, times of modification and first 64 KiB, which hold the shapes
/// and types of all tensors. Throws IoError.
std::uint64_t file_fingerprint(const std::vector<std::filesystem::path>& files);

/// Refuses bytes that are not that packed copy: FormatError "WHERE: expected X, got Y".
void check_packed_file(std::span<const std::byte> file, const PackedFileSpec& spec,
                       const std::string& where);

/// A model's weights as the products read them, in a file that is mapped, so that starting again
/// costs no packing and programs share the memory. A file is
///   char magic[8] "DLPACKED", uint32 version 1, uint32 number of blocks, uint64 fingerprint of the
///   model's files, uint64 hash of the blocks' names and sizes, uint64 size of the file, zeros up
///   to 64 bytes;
///   the blocks, each from a multiple of 64 bytes on, zeros between.
/// All but the blocks' bytes follows from the model, and a file that differs there in any byte is
/// refused: no number in a file is ever trusted. What the blocks hold is not checked, as weights
/// are not: any bytes are numbers. Little-endian.
class PackedFile {
 public:
  /// Throws IoError, and FormatError for a file that is not that copy.
  PackedFile(const std::filesystem::path& path, const PackedFileSpec& spec);

  /// Block `index`, 64-byte aligned; keeps the mapping alive.
  std::shared_ptr<const std::byte> block(std::size_t index) const;

 private:
  std::shared_ptr<const MappedFile> file_;
  std::vector<std::size_t> offsets_;
};

/// Writes the copy, atomically; a piece for each block, as long as the spec says. Throws IoError.
void write_packed_file(const std::filesystem::path& path, const PackedFileSpec& spec,
                       const std::vector<std::span<const std::byte>>& blocks);

}  // namespace diffllama
