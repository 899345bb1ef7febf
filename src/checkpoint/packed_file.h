#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "base/parallel.h"

namespace diffllama {

/// A block of bytes in a packed copy. Nothing of it is read from the file: it follows from the
/// model.
struct PackedBlock {
  std::string name;  // whose panels they are, of which format and size, made of what type of tensor
  std::size_t bytes = 0;
  std::span<const std::byte> source = {};  // the stored tensor that they were made of
};

/// What a packed copy of a model must be: its blocks in order.
using PackedFileSpec = std::vector<PackedBlock>;

/// Refuses bytes that are not that packed copy: FormatError "WHERE: expected X, got Y". All bytes
/// of the sources and of the file are read, on all threads.
void check_packed_file(std::span<const std::byte> file, const PackedFileSpec& spec,
                       const std::string& where, const Parallel& parallel);

/// A model's weights as the products read them, in a file that is mapped, so that starting again
/// costs no packing and programs share the memory. A file is
///   char magic[8] "DLPACKED", uint32 version 2, uint32 number of blocks, uint64 hash of the
///   blocks' names and sizes, uint64 size of the file, zeros up to 64 bytes;
///   for each block the uint64 hash of its source and that of its bytes in the file
///   (content_hash.h); zeros up to a multiple of 64 bytes;
///   the blocks, each from a multiple of 64 bytes on, zeros between.
/// Every byte of it follows from the model or is covered by a hash that does, and a file that
/// differs in any is refused: no number in a file is ever trusted, a model whose weights changed,
/// however old the change looks, is noticed, and so is damage to the copy. Little-endian.
class PackedFile {
 public:
  /// Throws IoError, and FormatError for a file that is not that copy.
  PackedFile(const std::filesystem::path& path, const PackedFileSpec& spec,
             const Parallel& parallel);

  /// Block `index`, 64-byte aligned; keeps the mapping alive.
  std::shared_ptr<const std::byte> block(std::size_t index) const;

 private:
  std::shared_ptr<const MappedFile> file_;
  std::vector<std::size_t> offsets_;
};

/// Writes the copy, atomically; a piece for each block, as long as the spec says. Throws IoError.
void write_packed_file(const std::filesystem::path& path, const PackedFileSpec& spec,
                       const std::vector<std::span<const std::byte>>& blocks,
                       const Parallel& parallel);

}  // namespace diffllama
