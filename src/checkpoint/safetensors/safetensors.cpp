#include "checkpoint/safetensors/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/lfs_pointer.h"
#include "checkpoint/safetensors/safetensors_dtype.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "files are little-endian");

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the safetensors library's own limit
// Together these keep what the parser and its result take under 64 MiB: a token is held up to four
// times while its buffers grow.
constexpr std::size_t kMaxTokenBytes = std::size_t{4} << 20;
constexpr std::size_t kMaxParsedBytes = std::size_t{36} << 20;

std::string excerpt(const std::string& name) { return json_excerpt(json(name)); }

struct Entry {
  const SafetensorsDType* type = nullptr;
  Shape shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

// nlohmann's SAX interface over the one shape a header may have:
// {"__metadata__": {string: string}, NAME: {"dtype": string, "shape": [n], "data_offsets": [n, n]}}
class HeaderReader {
 public:
  explicit HeaderReader(const std::string& where) : where_(where) {}

  std::map<std::string, Entry> tensors;
  std::map<std::string, std::string> metadata;

  bool null() { return unexpected("null"); }
  bool boolean(bool value) { return unexpected(value ? "true" : "false"); }
  bool number_integer(json::number_integer_t value) { return unexpected(std::to_string(value)); }
  bool number_float(json::number_float_t /*value*/, const std::string& text) {
    return unexpected(text.substr(0, 60));
  }
  bool number_unsigned(json::number_unsigned_t value) {
    if (in_ == In::shape) {
      if (std::cmp_greater(value, INT64_MAX)) return unexpected(std::to_string(value));
      spend(2 * sizeof(std::int64_t));  // a growing vector may hold twice its size
      entry_.shape.push_back(static_cast<std::int64_t>(value));
    } else if (in_ == In::offsets && offsets_ < 2) {
      (offsets_++ == 0 ? entry_.begin : entry_.end) = value;
    } else {
      return unexpected(std::to_string(value));
    }
    return true;
  }
  bool string(std::string& value) {
    if (in_ == In::metadata) {
      spend(value.size());
      metadata[key_] = std::move(value);
    } else if (in_ == In::tensor && key_ == "dtype") {
      entry_.type = find_safetensors_dtype(value);
      if (entry_.type == nullptr) return unexpected(excerpt(value));
    } else {
      return unexpected(excerpt(value));
    }
    return true;
  }
  bool binary(json::binary_t& /*unused*/) { return unexpected("binary data"); }
  bool start_object(std::size_t /*unused*/) {
    if (in_ == In::nothing) {
      in_ = In::root;
    } else if (in_ == In::root && name_ == "__metadata__") {
      in_ = In::metadata;
    } else if (in_ == In::root) {
      in_ = In::tensor;
      entry_ = {};
      seen_.clear();
    } else {
      return unexpected("an object");
    }
    return true;
  }
  bool start_array(std::size_t /*unused*/) {
    if (in_ != In::tensor || key_ == "dtype") return unexpected("an array");
    in_ = key_ == "shape" ? In::shape : In::offsets;
    offsets_ = 0;
    return true;
  }
  bool end_array() {
    if (in_ == In::offsets && offsets_ != 2)
      return unexpected(std::to_string(offsets_) + " numbers");
    in_ = In::tensor;
    return true;
  }
  bool end_object() {
    if (in_ == In::tensor) {
      if (seen_.size() != 3) refuse("the fields dtype, shape and data_offsets", fields_seen());
      tensors[name_] = std::move(entry_);
    }
    in_ = in_ == In::root ? In::nothing : In::root;
    if (in_ == In::root) name_.clear();
    return true;
  }
  bool key(std::string& name) {
    spend(name.size());
    if (in_ == In::root) {
      spend(kEntryBytes);
      name_ = name;
      const bool first = name == "__metadata__" ? !std::exchange(has_metadata_, true)
                                                : tensors.find(name) == tensors.end();
      if (!first) refuse("each name once", "it twice");
      return true;
    }
    key_ = name;
    if (in_ == In::metadata) {
      spend(kEntryBytes);
      if (metadata.contains(name)) refuse("each key once", "the key " + excerpt(name) + " twice");
      return true;
    }
    if (name != "dtype" && name != "shape" && name != "data_offsets") {
      refuse("the fields dtype, shape and data_offsets", "the field " + excerpt(name));
    }
    if (std::ranges::find(seen_, name) != seen_.end()) {
      refuse("each field once", "the field " + excerpt(name) + " twice");
    }
    seen_.push_back(name);
    return true;
  }
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const json::exception& error) {
    std::string what = error.what();  // "[json.exception.parse_error.101] parse error at line ..."
    if (const auto end = what.find("] "); end != std::string::npos) what = what.substr(end + 2);
    if (what.size() > 200) what.resize(200);
    throw FormatError(where_ + ": expected JSON, got a " + what + " (byte " +
                      std::to_string(position) + ")");
  }

 private:
  enum class In { nothing, root, metadata, tensor, shape, offsets };
  // A map node with its entry, a name's allocation and the pointer that sorts it.
  static constexpr std::size_t kEntryBytes = sizeof(Entry) + sizeof(TensorView) + 200;

  std::string place() const {
    if (name_.empty() && in_ != In::tensor) return where_;
    return where_ + ": " + (name_ == "__metadata__" ? name_ : "tensor " + excerpt(name_));
  }
  [[noreturn]] void refuse(const std::string& expected, const std::string& found) const {
    throw FormatError(place() + ": expected " + expected + ", got " + found);
  }
  bool unexpected(const std::string& found) const {
    switch (in_) {
      case In::nothing:
        refuse("an object", found);
      case In::root:
        refuse("an object with dtype, shape and data_offsets", found);
      case In::metadata:
        refuse("a string as the value of " + excerpt(key_), found);
      case In::tensor:
        if (key_ == "dtype") refuse("a dtype of " + safetensors_dtype_list(), found);
        if (key_ == "shape") refuse("a list of sizes as shape", found);
        refuse("a list of two byte positions as data_offsets", found);
      case In::shape:
        refuse("sizes from 0 to 2^63-1 in shape", found);
      case In::offsets:
        refuse("two byte positions in data_offsets", found);
    }
    return false;
  }
  std::string fields_seen() const {
    std::string text = seen_.empty() ? "none" : "only";
    for (const std::string& field : seen_) text += " " + field;
    return text;
  }
  void spend(std::size_t bytes) {
    spent_ += bytes;
    if (spent_ > kMaxParsedBytes) {
      throw FormatError(where_ + ": expected names and shapes of at most " +
                        std::to_string(kMaxParsedBytes) + " bytes in memory, got more");
    }
  }

  const std::string& where_;
  In in_ = In::nothing;
  std::string name_;  // the tensor, or "__metadata__"
  std::string key_;   // the last key inside it
  Entry entry_;
  int offsets_ = 0;
  std::vector<std::string> seen_;  // fields of the tensor so far
  bool has_metadata_ = false;
  std::size_t spent_ = 0;
};

// The lexer holds a whole token, so a token's length is limited before it starts.
void limit_tokens(std::string_view text, const std::string& where) {
  bool in_string = false;
  std::size_t start = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string ? c == '"' : std::string_view("{}[],:\"").find(c) != std::string_view::npos) {
      in_string = c == '"' && !in_string;
      start = i;
    } else if (in_string && c == '\\') {
      ++i;
    }
    if (i - start > kMaxTokenBytes) {
      throw FormatError(where + ": expected strings of at most " + std::to_string(kMaxTokenBytes) +
                        " bytes, got a longer one at byte " + std::to_string(start));
    }
  }
}

std::uint64_t entry_bytes(const Entry& entry, const std::string& where) {
  std::uint64_t bits = entry.type->bits;
  for (const std::int64_t size : entry.shape) {
    if (__builtin_mul_overflow(bits, static_cast<std::uint64_t>(size), &bits)) {
      throw FormatError(where + ": expected a size of less than 2^64 bits, got shape " +
                        to_string(entry.shape));
    }
  }
  if (bits % 8 != 0) {
    throw FormatError(where + ": expected whole bytes, got " + std::string(entry.type->name) + " " +
                      to_string(entry.shape));
  }
  return bits / 8;
}

// Every tensor has its own bytes, in bounds, and together they are all the data.
void check_ranges(const std::map<std::string, Entry>& tensors, std::uint64_t data_bytes,
                  const std::string& where) {
  using Item = std::pair<const std::string, Entry>;
  const auto range = [](const Entry& entry) {
    return "[" + std::to_string(entry.begin) + ", " + std::to_string(entry.end) + "]";
  };
  std::vector<const Item*> order;
  order.reserve(tensors.size());
  for (const Item& item : tensors) {
    const Entry& entry = item.second;
    const std::string place = where + ": tensor " + excerpt(item.first);
    if (entry.begin > entry.end || entry.end > data_bytes) {
      throw FormatError(place + ": expected data_offsets [begin, end] inside the " +
                        std::to_string(data_bytes) + " bytes of data, got " + range(entry));
    }
    if (const std::uint64_t bytes = entry_bytes(entry, place); bytes != entry.end - entry.begin) {
      throw FormatError(place + ": expected " + std::to_string(bytes) + " bytes for " +
                        std::string(entry.type->name) + " " + to_string(entry.shape) +
                        ", got data_offsets " + range(entry));
    }
    order.push_back(&item);
  }
  std::ranges::sort(
      order, {}, [](const Item* item) { return std::pair(item->second.begin, item->second.end); });
  std::uint64_t position = 0;
  for (const Item* item : order) {
    if (item->second.begin != position) {
      throw FormatError(where + ": tensor " + excerpt(item->first) + ": expected data from byte " +
                        std::to_string(position) + ", where the tensor before it ends, got " +
                        range(item->second) +
                        (item->second.begin < position ? ", which overlaps it" : ", a hole"));
    }
    position = item->second.end;
  }
  if (position != data_bytes) {
    throw FormatError(where + ": expected tensors that fill the " + std::to_string(data_bytes) +
                      " bytes of data, got " + std::to_string(position));
  }
}

}  // namespace

SafetensorsContent parse_safetensors(std::span<const std::byte> bytes, const std::string& where) {
  std::uint64_t header_bytes = 0;
  if (bytes.size() < sizeof header_bytes) {
    throw FormatError(where + ": expected a safetensors file of at least 8 bytes, got " +
                      std::to_string(bytes.size()));
  }
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  bytes = bytes.subspan(sizeof header_bytes);
  if (header_bytes < 2 || header_bytes > kMaxHeaderBytes || header_bytes > bytes.size()) {
    throw FormatError(where + ": expected a safetensors header of 2 to " +
                      std::to_string(std::min<std::uint64_t>(kMaxHeaderBytes, bytes.size())) +
                      " bytes, got a length of " + std::to_string(header_bytes));
  }
  std::string_view header(reinterpret_cast<const char*>(bytes.data()), header_bytes);
  const std::span<const std::byte> data = bytes.subspan(header_bytes);
  const std::string header_where = where + ": header";
  if (header.front() != '{') {
    throw FormatError(header_where + ": expected JSON that starts with {, got byte " +
                      std::to_string(static_cast<unsigned char>(header.front())));
  }
  header = header.substr(0, header.find_last_not_of(' ') + 1);
  limit_tokens(header, header_where);
  HeaderReader reader(header_where);
  json::sax_parse(header.begin(), header.end(), &reader);
  check_ranges(reader.tensors, data.size(), where);

  SafetensorsContent content;
  content.metadata = std::move(reader.metadata);
  while (!reader.tensors.empty()) {
    auto node = reader.tensors.extract(reader.tensors.begin());
    Entry& entry = node.mapped();
    if (!entry.type->dtype) {
      content.unread[std::move(node.key())] = {std::string(entry.type->name),
                                               std::move(entry.shape)};
      continue;
    }
    content.tensors[std::move(node.key())] = {*entry.type->dtype, std::move(entry.shape),
                                              data.subspan(entry.begin, entry.end - entry.begin)};
  }
  return content;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(std::make_shared<const MappedFile>(path)) {
  refuse_lfs_pointer(file_->bytes(), path.string());
  content_ = parse_safetensors(file_->bytes(), path.string());
}

}  // namespace diffllama
