#include "training/event_file.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <system_error>

#include "diffllama/error.h"

namespace diffllama {
namespace {

// Protobuf: a field is its number and wire type, then its value.
enum class Wire : std::uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>((value & 0x7F) | 0x80));
  out.push_back(static_cast<char>(value));
}

void put_key(std::string& out, std::uint32_t field, Wire wire) {
  put_varint(out, std::uint64_t{field} << 3 | static_cast<std::uint64_t>(wire));
}

template <class T>
void put_little_endian(std::string& out, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

void put_bytes(std::string& out, std::uint32_t field, std::string_view bytes) {
  put_key(out, field, Wire::bytes);
  put_varint(out, bytes.size());
  out.append(bytes);
}

void put_integer(std::string& out, std::uint32_t field, std::int64_t value) {
  put_key(out, field, Wire::varint);
  put_varint(out, static_cast<std::uint64_t>(value));
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::uint32_t masked(std::uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xA282EAD8U; }

std::string record(std::string_view data) {
  std::string out;
  put_little_endian(out, std::uint64_t{data.size()});
  const std::uint32_t length_crc = masked(crc32c(out));
  put_little_endian(out, length_crc);
  out.append(data);
  put_little_endian(out, masked(crc32c(data)));
  return out;
}

std::filesystem::path new_path(const std::filesystem::path& directory) {
  static std::atomic<int> count{0};  // files that one process makes within a second
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = 0;
  std::string name = "events.out.tfevents.";
  name.append(std::to_string(static_cast<std::int64_t>(seconds_now())));
  name.append(".").append(host.data()).append(".").append(std::to_string(::getpid()));
  name.append(".").append(std::to_string(count++));
  return directory / name;
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t crc = ~0U;
  for (const char byte : bytes) {
    crc ^= static_cast<std::uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0x82F63B78U : 0U);
  }
  return ~crc;
}

EventFile::EventFile(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) throw IoError(directory.string() + ": cannot make the directory: " + error.message());
  path_ = new_path(directory);
  file_.open(path_, std::ios::binary);
  std::string version;
  put_bytes(version, 3, "brain.Event:2");  // Event.file_version
  add_event(0, version);
}

void EventFile::add_event(std::int64_t step, std::string_view fields) {
  std::string event;
  put_key(event, 1, Wire::fixed64);  // Event.wall_time
  put_little_endian(event, std::bit_cast<std::uint64_t>(seconds_now()));
  put_integer(event, 2, step);  // Event.step
  event.append(fields);
  const std::string bytes = record(event);
  file_.write(bytes.data(), static_cast<std::streamsize>(bytes.size())).flush();
  if (file_) return;
  throw IoError(path_.string() + ": cannot write: " + std::generic_category().message(errno));
}

void EventFile::add_value(std::int64_t step, std::string_view value) {
  std::string summary, fields;
  put_bytes(summary, 1, value);   // Summary.value
  put_bytes(fields, 5, summary);  // Event.summary
  add_event(step, fields);
}

void EventFile::add_scalar(std::string_view tag, double value, std::int64_t step) {
  std::string message;
  put_bytes(message, 1, tag);          // Summary.Value.tag
  put_key(message, 2, Wire::fixed32);  // Summary.Value.simple_value
  put_little_endian(message, std::bit_cast<std::uint32_t>(static_cast<float>(value)));
  add_value(step, message);
}

void EventFile::add_text(std::string_view tag, std::string_view text, std::int64_t step) {
  std::string plugin, metadata, dimension, shape, tensor, message;
  put_bytes(plugin, 1, "text");    // SummaryMetadata.PluginData.plugin_name
  put_bytes(metadata, 1, plugin);  // SummaryMetadata.plugin_data
  put_integer(dimension, 1, 1);    // TensorShapeProto.Dim.size
  put_bytes(shape, 2, dimension);  // TensorShapeProto.dim
  put_integer(tensor, 1, 7);       // TensorProto.dtype: DT_STRING
  put_bytes(tensor, 2, shape);     // TensorProto.tensor_shape
  put_bytes(tensor, 8, text);      // TensorProto.string_val
  put_bytes(message, 1, std::string(tag).append("/text_summary"));
  put_bytes(message, 9, metadata);  // Summary.Value.metadata
  put_bytes(message, 8, tensor);    // Summary.Value.tensor
  add_value(step, message);
}

}  // namespace diffllama
