#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace diffllama {

/// A file of data, read from the begin to the end; what gzip (RFC 1952) or zstd (RFC 8878) packed,
/// as its first bytes tell, is unpacked on the way.
class DataFile {
 public:
  /// Throws IoError for a path that cannot be read.
  explicit DataFile(const std::filesystem::path& path);
  ~DataFile();
  DataFile(DataFile&&) noexcept;
  DataFile& operator=(DataFile&&) noexcept;

  /// Fills `bytes` as far as the file goes and gives how many they are: 0 at its end. Throws
  /// IoError, also for packed data that is broken or cut short.
  std::size_t read(std::span<char> bytes);
  bool is_packed() const;
  /// Bytes of the file that were read, packed ones as they are.
  std::uint64_t position() const;

  class Reader;

 private:
  std::unique_ptr<Reader> reader_;
};

/// All of a file, unpacked. Throws as DataFile does.
std::string read_data_file(const std::filesystem::path& path);

/// The name without ".gz" or ".zst": "a.csv" for "a.csv.gz".
std::filesystem::path unpacked_name(const std::filesystem::path& path);

}  // namespace diffllama
