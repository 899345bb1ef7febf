#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace diffllama {

/// The most bytes of a line or a record of rows, and of a packed file that is read whole: a small
/// file must not fill the memory.
constexpr std::size_t kLongestRow = std::size_t{64} << 20;
constexpr std::size_t kLargestPacked = std::size_t{1} << 30;

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

/// All of a file, unpacked. Throws as DataFile does, and FormatError "PATH: ..." for packed data of
/// more than kLargestPacked bytes.
std::string read_data_file(const std::filesystem::path& path);

/// The name without ".gz" or ".zst": "a.csv" for "a.csv.gz".
std::filesystem::path unpacked_name(const std::filesystem::path& path);

}  // namespace diffllama
