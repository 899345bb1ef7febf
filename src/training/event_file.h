#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace diffllama {

/// CRC-32C (Castagnoli), as TFRecord files take it, before they mask it.
std::uint32_t crc32c(std::string_view bytes);

/// A file of events that TensorBoard shows: records of TFRecord, each a protobuf message Event
/// (tensorboard/compat/proto/event.proto), written by hand, for they are few and fixed.
class EventFile {
 public:
  /// Makes the directory and, in it, a new file events.out.tfevents.SECONDS.HOST.PID.N. Throws
  /// IoError.
  explicit EventFile(const std::filesystem::path& directory);

  /// A number of a curve at a step. Each is flushed to the system. Throws IoError.
  void add_scalar(std::string_view tag, double value, std::int64_t step);
  /// A text in Markdown.
  void add_text(std::string_view tag, std::string_view text, std::int64_t step);
  const std::filesystem::path& path() const { return path_; }

 private:
  void add_event(std::int64_t step, std::string_view fields);
  void add_value(std::int64_t step, std::string_view value);

  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace diffllama
