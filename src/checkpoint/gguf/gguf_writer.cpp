#include "checkpoint/gguf/gguf_writer.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>

#include "base/atomic_file.h"
#include "checkpoint/gguf/gguf_types.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

constexpr std::uint32_t kVersion = 3;
constexpr std::uint64_t kAlignment = 32;
constexpr std::string_view kAlignmentKey = "general.alignment";

template <class T>
void append(std::string& bytes, T value) {
  const std::size_t at = bytes.size();
  bytes.resize(at + sizeof value);
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

void append_string(std::string& bytes, std::string_view text) {
  append(bytes, static_cast<std::uint64_t>(text.size()));
  bytes += text;
}

std::string typed(GgufType type) {
  std::string bytes;
  append(bytes, type);
  return bytes;
}

template <class T>
std::string typed(GgufType type, T value) {
  std::string bytes = typed(type);
  append(bytes, value);
  return bytes;
}

std::string typed_array(GgufType type, std::uint64_t count) {
  std::string bytes = typed(GgufType::array, type);
  append(bytes, count);
  return bytes;
}

std::uint64_t padding(std::uint64_t size) { return (kAlignment - size % kAlignment) % kAlignment; }

void check(const TensorSource& tensor) {
  const auto refuse = [&](const std::string& expected, const std::string& found) {
    throw InvalidArgument("[gguf_writer] tensor " + tensor.name + ": expected " + expected +
                          ", got " + found);
  };
  if (tensor.name.empty() || tensor.name.size() > 64) {
    refuse("a name of 1 to 64 bytes", std::to_string(tensor.name.size()));
  }
  const Shape& shape = tensor.shape;
  if (shape.empty() || shape.size() > 4 || element_count(shape) == 0) {
    refuse("1 to 4 sizes above 0", to_string(shape));
  }
  if (!gguf_tensor_type(tensor.dtype)) {
    refuse("a type of " + gguf_tensor_type_list(), std::string(dtype_name(tensor.dtype)));
  }
  const auto block = static_cast<std::int64_t>(block_elements(tensor.dtype));
  if (shape.back() % block != 0) {
    refuse("rows of whole blocks of " + std::to_string(block), to_string(shape));
  }
}

void check_all(std::span<const TensorSource> tensors) {
  std::set<std::string_view> names;
  for (const TensorSource& tensor : tensors) {
    check(tensor);
    if (!names.insert(tensor.name).second) {
      throw InvalidArgument("[gguf_writer] expected each tensor name once, got " + tensor.name +
                            " twice");
    }
  }
}

// The descriptions of all tensors, each with its place in the data.
std::string tensor_infos(std::span<const TensorSource> tensors) {
  std::string infos;
  std::uint64_t offset = 0;
  for (const TensorSource& tensor : tensors) {
    append_string(infos, tensor.name);
    append(infos, static_cast<std::uint32_t>(tensor.shape.size()));
    for (std::size_t i = tensor.shape.size(); i > 0; --i) {
      append(infos, static_cast<std::uint64_t>(tensor.shape[i - 1]));
    }
    append(infos, *gguf_tensor_type(tensor.dtype));
    append(infos, offset);
    const std::uint64_t bytes = byte_count(tensor);
    offset += bytes + padding(bytes);
  }
  return infos;
}

using Keys = std::vector<std::pair<std::string, std::string>>;

void write_file(AtomicFile& file, const Keys& keys, std::span<const TensorSource> tensors) {
  std::string head = "GGUF";
  append(head, kVersion);
  append(head, static_cast<std::uint64_t>(tensors.size()));
  append(head, static_cast<std::uint64_t>(keys.size()));
  for (const auto& [key, bytes] : keys) {
    append_string(head, key);
    head += bytes;
  }
  head += tensor_infos(tensors);
  head.resize(head.size() + padding(head.size()));
  file.write(head);
  for (const TensorSource& tensor : tensors) {
    write_tensor(tensor, [&](std::span<const std::byte> bytes) { file.write(bytes); });
    file.write(std::string(padding(byte_count(tensor)), '\0'));
  }
}

// Cuts before the tensor that would not fit any more.
std::vector<std::span<const TensorSource>> cut(std::span<const TensorSource> tensors,
                                               std::uint64_t part_bytes) {
  std::vector<std::span<const TensorSource>> parts;
  std::size_t begin = 0;
  std::uint64_t size = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::uint64_t bytes = byte_count(tensors[i]);
    const std::uint64_t padded = bytes + padding(bytes);
    if (i > begin && (padded > part_bytes || size > part_bytes - padded)) {
      parts.push_back(tensors.subspan(begin, i - begin));
      begin = i;
      size = 0;
    }
    size += padded;
  }
  parts.push_back(tensors.subspan(begin));
  return parts;
}

}  // namespace

void GgufWriter::put(std::string_view key, std::string bytes) {
  const auto found = std::ranges::find(keys_, key, [](const auto& entry) { return entry.first; });
  if (found != keys_.end()) {
    found->second = std::move(bytes);
  } else {
    keys_.emplace_back(key, std::move(bytes));
  }
}

void GgufWriter::set(std::string_view key, std::uint32_t value) {
  put(key, typed(GgufType::uint32, value));
}
void GgufWriter::set(std::string_view key, float value) {
  put(key, typed(GgufType::float32, value));
}
void GgufWriter::set(std::string_view key, bool value) {
  put(key, typed(GgufType::boolean, static_cast<std::uint8_t>(value)));
}
void GgufWriter::set(std::string_view key, std::string_view value) {
  std::string bytes = typed(GgufType::string);
  append_string(bytes, value);
  put(key, std::move(bytes));
}
void GgufWriter::set(std::string_view key, std::span<const std::string> values) {
  std::string bytes = typed_array(GgufType::string, values.size());
  for (const std::string& value : values) append_string(bytes, value);
  put(key, std::move(bytes));
}
void GgufWriter::set(std::string_view key, std::span<const std::int32_t> values) {
  std::string bytes = typed_array(GgufType::int32, values.size());
  for (const std::int32_t value : values) append(bytes, value);
  put(key, std::move(bytes));
}
void GgufWriter::set(std::string_view key, std::span<const float> values) {
  std::string bytes = typed_array(GgufType::float32, values.size());
  for (const float value : values) append(bytes, value);
  put(key, std::move(bytes));
}
void GgufWriter::set(std::string_view key, const GgufValue& value) {
  if (key == kAlignmentKey) return;  // this file's is its own
  std::string bytes = value.is_array ? typed_array(value.type, value.count) : typed(value.type);
  bytes.append(reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size());
  put(key, std::move(bytes));
}

void GgufWriter::write(const std::filesystem::path& path, const std::vector<TensorSource>& tensors,
                       std::uint64_t part_bytes) const {
  check_all(tensors);
  std::vector<std::span<const TensorSource>> parts = {tensors};
  if (part_bytes != 0) parts = cut(tensors, part_bytes);
  if (parts.size() == 1) {
    AtomicFile file(path);
    write_file(file, keys_, tensors);
    return file.commit();
  }
  std::filesystem::path prefix = path;
  if (prefix.extension() == ".gguf") prefix.replace_extension();
  const auto count = static_cast<std::int64_t>(parts.size());
  if (count > UINT16_MAX) {
    throw InvalidArgument("[gguf_writer] expected at most 65535 parts, got " +
                          std::to_string(count));
  }
  std::vector<std::unique_ptr<AtomicFile>> files;
  for (std::int64_t i = 0; i < count; ++i) {
    Keys keys;
    if (i == 0) keys = keys_;
    keys.emplace_back(kSplitNumberKey, typed(GgufType::uint16, static_cast<std::uint16_t>(i)));
    keys.emplace_back(kSplitCountKey, typed(GgufType::uint16, static_cast<std::uint16_t>(count)));
    keys.emplace_back(kSplitTensorsKey,
                      typed(GgufType::int32, static_cast<std::int32_t>(tensors.size())));
    files.push_back(std::make_unique<AtomicFile>(gguf_part_path(prefix, i, count)));
    write_file(*files.back(), keys, parts[static_cast<std::size_t>(i)]);
  }
  for (; !files.empty(); files.pop_back()) files.back()->commit();
}

}  // namespace diffllama
