#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <utility>

#include "base/json.h"
#include "base/lfs_pointer.h"
#include "base/text.h"
#include "checkpoint/gguf/gguf.h"
#include "checkpoint/gguf/gguf_types.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian");

// Limits of the format (docs/gguf.md) where it has any; the counts bound memory and are far above
// real files (tens of keys, thousands of tensors).
constexpr std::int64_t kMaxKeys = 65'536;
constexpr std::int64_t kMaxTensors = 65'536;
constexpr std::uint64_t kMaxKeyBytes = 65'535;
constexpr std::uint64_t kMaxNameBytes = 64;
constexpr std::uint32_t kMaxRank = 4;
constexpr std::int64_t kDefaultAlignment = 32;
constexpr std::int64_t kMaxAlignment = 65'536;

std::string excerpt(std::string_view text) {
  return json_excerpt(nlohmann::json(std::string(text.substr(0, 200))));
}

}  // namespace

/// Walks once through the file; every read is checked against its end.
class GgufParser {
 public:
  GgufParser(std::span<const std::byte> bytes, GgufFile& file) : bytes_(bytes), file_(file) {}

  void parse() {
    read_head();
    for (std::int64_t i = 0; i < keys_; ++i) read_key(i);
    read_alignment();
    for (std::int64_t i = 0; i < tensors_; ++i) read_tensor(i);
    place_tensors();
  }

 private:
  struct Entry {
    const std::string* name = nullptr;
    TensorView* view = nullptr;  // in the file's map
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
  };

  [[noreturn]] void fail(const std::string& what, const std::string& expected,
                         const std::string& found) const {
    throw FormatError(file_.where_ + ": " + what + ": expected " + expected + ", got " + found);
  }

  std::size_t left() const { return bytes_.size() - position_; }

  std::span<const std::byte> take(std::uint64_t size, const std::string& what) {
    if (size > left()) {
      fail(what, std::to_string(size) + " bytes",
           "the end of the file after " + std::to_string(left()));
    }
    const auto taken = bytes_.subspan(position_, size);
    position_ += size;
    return taken;
  }
  template <class T>
  T read(const std::string& what) {
    T value;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }
  std::string_view read_string(const std::string& what, std::uint64_t limit = UINT64_MAX) {
    const auto length = read<std::uint64_t>(what);
    if (length > limit) {
      fail(what, "at most " + std::to_string(limit) + " bytes", std::to_string(length));
    }
    const auto bytes = take(length, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  // The format's counts are unsigned; as signed, what other loaders read as negative is refused
  // under the number that the file holds.
  std::int64_t read_count(const std::string& what, std::int64_t limit) {
    const auto count = read<std::uint64_t>(what);
    if (std::cmp_greater(count, limit)) {
      fail(what, "0 to " + std::to_string(limit), std::to_string(count));
    }
    return static_cast<std::int64_t>(count);
  }

  void read_head() {
    const auto magic = take(4, "magic");
    if (std::memcmp(magic.data(), "GGUF", 4) != 0) {
      fail("magic", "\"GGUF\"",
           excerpt({reinterpret_cast<const char*>(magic.data()), magic.size()}));
    }
    const auto version = read<std::uint32_t>("version");
    if (version != 2 && version != 3) {
      const bool swapped = (version & 0xffffU) == 0 && version != 0;
      fail("version", "2 or 3, little-endian",
           std::to_string(version) + (swapped ? ", a big-endian file" : ""));
    }
    tensors_ = read_count("number of tensors", kMaxTensors);
    keys_ = read_count("number of metadata keys", kMaxKeys);
  }

  void read_key(std::int64_t index) {
    const std::string_view key =
        read_string("name of metadata key " + std::to_string(index), kMaxKeyBytes);
    if (key.empty() || !is_utf8(key)) {
      fail("name of metadata key " + std::to_string(index), "UTF-8 text",
           key.empty() ? "none" : excerpt(key));
    }
    const std::string what = "key " + excerpt(key);
    GgufValue value;
    value.type = static_cast<GgufType>(read<std::uint32_t>(what + ": type"));
    if (value.type == GgufType::array) {
      value.is_array = true;
      value.type = static_cast<GgufType>(read<std::uint32_t>(what + ": element type"));
      value.count = read<std::uint64_t>(what + ": number of elements");
      if (value.type == GgufType::array) fail(what, "an array of plain values", "nested arrays");
    }
    value.bytes = take_values(value, what);
    if (!file_.metadata_.emplace(key, value).second) fail(what, "each key once", "it twice");
  }

  std::span<const std::byte> take_values(const GgufValue& value, const std::string& what) {
    if (value.type == GgufType::string) {
      const std::size_t start = position_;
      for (std::uint64_t i = 0; i < value.count; ++i) read_string(what);
      return bytes_.subspan(start, position_ - start);
    }
    const std::uint64_t size = gguf_type_bytes(value.type);
    if (size == 0) fail(what, "a type from uint8 (0) to float64 (12)", gguf_type_name(value.type));
    std::uint64_t bytes = 0;
    if (__builtin_mul_overflow(size, value.count, &bytes)) {
      fail(what, "elements that lie in the file",
           std::to_string(value.count) + " of " + gguf_type_name(value.type));
    }
    return take(bytes, what);
  }

  void read_alignment() {
    constexpr std::string_view kKey = "general.alignment";
    alignment_ = file_.integer(kKey).value_or(kDefaultAlignment);
    if (alignment_ < 8 || alignment_ > kMaxAlignment ||
        !std::has_single_bit(static_cast<std::uint64_t>(alignment_))) {
      file_.refuse(kKey, "a power of two from 8 to " + std::to_string(kMaxAlignment),
                   std::to_string(alignment_));
    }
  }

  void read_tensor(std::int64_t index) {
    const std::string_view name =
        read_string("name of tensor " + std::to_string(index), kMaxNameBytes);
    if (name.empty()) {
      fail("name of tensor " + std::to_string(index),
           "1 to " + std::to_string(kMaxNameBytes) + " bytes", "0");
    }
    const std::string what = "tensor " + excerpt(name);
    const auto [at, added] = file_.tensors_.try_emplace(std::string(name));
    if (!added) fail(what, "each tensor name once", "it twice");
    TensorView& view = at->second;
    Entry entry{&at->first, &view};
    const auto rank = read<std::uint32_t>(what + ": number of dimensions");
    if (rank == 0 || rank > kMaxRank) {
      fail(what, "1 to " + std::to_string(kMaxRank) + " dimensions", std::to_string(rank));
    }
    std::uint64_t elements = 1;
    for (std::uint32_t i = 0; i < rank; ++i) {
      const auto size = read<std::uint64_t>(what + ": dimension " + std::to_string(i));
      if (size == 0 || !std::in_range<std::int64_t>(size) ||
          __builtin_mul_overflow(elements, size, &elements) ||
          !std::in_range<std::int64_t>(elements)) {
        fail(what + ": dimension " + std::to_string(i),
             "a size from 1, and at most 2^63-1 elements in all", std::to_string(size));
      }
      view.shape.push_back(static_cast<std::int64_t>(size));
    }
    const auto row = static_cast<std::uint64_t>(view.shape.front());
    std::ranges::reverse(view.shape);
    const auto type = read<std::uint32_t>(what + ": type");
    const std::optional<DType> dtype = gguf_tensor_dtype(type);
    if (!dtype) {
      fail(what, "a type of " + gguf_tensor_type_list(), gguf_tensor_type_name(type));
    }
    view.dtype = *dtype;
    if (row % block_elements(*dtype) != 0) {
      fail(what,
           "rows of whole blocks of " + std::to_string(block_elements(*dtype)) + " for " +
               gguf_tensor_type_name(type),
           std::to_string(row) + " elements");
    }
    if (__builtin_mul_overflow(elements / block_elements(*dtype),
                               std::uint64_t{block_bytes(*dtype)}, &entry.bytes)) {
      fail(what, "fewer than 2^64 bytes", "shape " + to_string(view.shape));
    }
    entry.offset = read<std::uint64_t>(what + ": offset");
    entries_.push_back(entry);
  }

  // Offsets count from the first aligned byte after the tensors' descriptions.
  void place_tensors() {
    if (entries_.empty()) return;
    const auto alignment = static_cast<std::uint64_t>(alignment_);
    const std::uint64_t start = (position_ + alignment - 1) / alignment * alignment;
    const std::uint64_t data = start < bytes_.size() ? bytes_.size() - start : 0;
    std::ranges::sort(entries_, {}, &Entry::offset);
    std::uint64_t end = 0;
    for (const Entry& entry : entries_) {
      const std::string what = "tensor " + excerpt(*entry.name);
      if (entry.offset % alignment != 0) {
        fail(what, "an offset that is a multiple of " + std::to_string(alignment),
             std::to_string(entry.offset));
      }
      if (entry.offset > data || entry.bytes > data - entry.offset) {
        fail(what,
             std::to_string(entry.bytes) + " bytes for " + to_string(entry.view->shape) +
                 " at offset " + std::to_string(entry.offset),
             "a file with " + std::to_string(data) + " bytes of tensor data");
      }
      if (entry.offset < end) {
        fail(what, "data of its own",
             "offset " + std::to_string(entry.offset) + ", inside the tensor that ends at " +
                 std::to_string(end));
      }
      end = entry.offset + entry.bytes;
      entry.view->bytes = bytes_.subspan(start + entry.offset, entry.bytes);
    }
  }

  std::span<const std::byte> bytes_;
  GgufFile& file_;
  std::size_t position_ = 0;
  std::int64_t keys_ = 0;
  std::int64_t tensors_ = 0;
  std::int64_t alignment_ = kDefaultAlignment;
  std::vector<Entry> entries_;
};

GgufFile::GgufFile(const std::filesystem::path& path) {
  map(path);
  add_parts();
}

void GgufFile::map(const std::filesystem::path& path) {
  where_ = path.string();
  const auto file = std::make_shared<const MappedFile>(path);
  files_ = std::make_shared<Files>(1, file);
  refuse_lfs_pointer(file->bytes(), where_);
  GgufParser(file->bytes(), *this).parse();
}

GgufFile::GgufFile(std::span<const std::byte> bytes, std::string where) : where_(std::move(where)) {
  GgufParser(bytes, *this).parse();
}

}  // namespace diffllama
