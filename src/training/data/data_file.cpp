#include "training/data/data_file.h"

#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>
#include <vector>

#include "base/regular_file.h"
#include "diffllama/error.h"

namespace diffllama {

class DataFile::Reader {
 public:
  explicit Reader(std::filesystem::path path) : path_(std::move(path)), file_(path_) {}
  virtual ~Reader() = default;
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  virtual std::size_t read(std::span<char> bytes) { return read_file(bytes); }
  virtual bool is_packed() const { return false; }
  std::uint64_t position() const { return position_; }

  // The file's first bytes, which are read again.
  std::span<const char> peek(std::span<char> bytes) const {
    const ssize_t count = ::pread(file_.descriptor(), bytes.data(), bytes.size(), 0);
    return bytes.first(static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
  }
  std::filesystem::path path() const { return path_; }

 protected:
  std::size_t read_file(std::span<char> bytes) {
    ssize_t count = 0;
    do {
      count = ::read(file_.descriptor(), bytes.data(), bytes.size());
    } while (count < 0 && errno == EINTR);
    if (count < 0) {
      throw IoError(path_.string() + ": cannot read: " + std::generic_category().message(errno));
    }
    position_ += static_cast<std::uint64_t>(count);
    return static_cast<std::size_t>(count);
  }
  [[noreturn]] void refuse(const char* kind, const std::string& found) const {
    throw IoError(path_.string() + ": expected " + kind + " data, got " + found);
  }

 private:
  std::filesystem::path path_;
  RegularFile file_;
  std::uint64_t position_ = 0;
};

namespace {

constexpr std::size_t kInputBytes = std::size_t{1} << 16;

class GzipReader : public DataFile::Reader {
 public:
  explicit GzipReader(const std::filesystem::path& path) : Reader(path), input_(kInputBytes) {
    constexpr int kGzip = 16;  // a gzip header, not zlib's
    if (inflateInit2(&stream_, MAX_WBITS + kGzip) != Z_OK) throw std::bad_alloc();
  }
  ~GzipReader() override { inflateEnd(&stream_); }
  GzipReader(const GzipReader&) = delete;
  GzipReader& operator=(const GzipReader&) = delete;

  bool is_packed() const override { return true; }
  std::size_t read(std::span<char> bytes) override {
    bytes = bytes.first(std::min(bytes.size(), kInputBytes));
    stream_.next_out = reinterpret_cast<Bytef*>(bytes.data());
    stream_.avail_out = static_cast<uInt>(bytes.size());
    while (stream_.avail_out == bytes.size()) {
      if (stream_.avail_in == 0 && !refill()) {
        if (!at_member_end_) refuse("gzip", "a file that is cut short");
        return 0;
      }
      if (std::exchange(at_member_end_, false)) inflateReset(&stream_);  // another member
      const int status = inflate(&stream_, Z_NO_FLUSH);
      at_member_end_ = status == Z_STREAM_END;
      if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR) {
        refuse("gzip", stream_.msg == nullptr ? "broken bytes" : stream_.msg);
      }
    }
    return bytes.size() - stream_.avail_out;
  }

 private:
  bool refill() {
    const std::size_t count = read_file(input_);
    stream_.next_in = reinterpret_cast<Bytef*>(input_.data());
    stream_.avail_in = static_cast<uInt>(count);
    return count > 0;
  }

  z_stream stream_{};
  std::vector<char> input_;
  bool at_member_end_ = false;
};

class ZstdReader : public DataFile::Reader {
 public:
  explicit ZstdReader(const std::filesystem::path& path)
      : Reader(path), stream_(ZSTD_createDStream()), input_(ZSTD_DStreamInSize()) {
    if (stream_ == nullptr) throw std::bad_alloc();
  }

  bool is_packed() const override { return true; }
  std::size_t read(std::span<char> bytes) override {
    ZSTD_outBuffer output = {.dst = bytes.data(), .size = bytes.size(), .pos = 0};
    while (output.pos == 0) {
      // What it holds back comes out without more input, too.
      const bool refilled = given_.pos < given_.size || refill();
      const std::size_t left = ZSTD_decompressStream(stream_.get(), &output, &given_);
      if (ZSTD_isError(left) != 0) refuse("zstd", ZSTD_getErrorName(left));
      if (output.pos == 0 && !refilled) {
        if (unfinished_) refuse("zstd", "a file that is cut short");
        return 0;
      }
      unfinished_ = left != 0;
    }
    return output.pos;
  }

 private:
  bool refill() {
    given_ = {.src = input_.data(), .size = read_file(input_), .pos = 0};
    return given_.size > 0;
  }
  struct Free {
    void operator()(ZSTD_DStream* stream) const { ZSTD_freeDStream(stream); }
  };

  std::unique_ptr<ZSTD_DStream, Free> stream_;
  std::vector<char> input_;
  ZSTD_inBuffer given_{};
  bool unfinished_ = false;
};

bool begins_with(std::span<const char> bytes, std::initializer_list<unsigned char> magic) {
  return bytes.size() >= magic.size() &&
         std::equal(magic.begin(), magic.end(), bytes.begin(),
                    [](unsigned char a, char b) { return a == static_cast<unsigned char>(b); });
}

}  // namespace

DataFile::DataFile(const std::filesystem::path& path) : reader_(std::make_unique<Reader>(path)) {
  std::array<char, 4> first{};
  const std::span<const char> found = reader_->peek(first);
  if (begins_with(found, {0x1F, 0x8B})) reader_ = std::make_unique<GzipReader>(path);
  if (begins_with(found, {0x28, 0xB5, 0x2F, 0xFD})) reader_ = std::make_unique<ZstdReader>(path);
}

DataFile::~DataFile() = default;
DataFile::DataFile(DataFile&&) noexcept = default;
DataFile& DataFile::operator=(DataFile&&) noexcept = default;

std::size_t DataFile::read(std::span<char> bytes) { return reader_->read(bytes); }
bool DataFile::is_packed() const { return reader_->is_packed(); }
std::uint64_t DataFile::position() const { return reader_->position(); }

std::string read_data_file(const std::filesystem::path& path) {
  DataFile file(path);
  std::string text;
  for (std::size_t size = 0;; size = text.size()) {
    text.resize(size + kInputBytes);
    const std::size_t count = file.read(std::span(text).subspan(size));
    text.resize(size + count);
    if (count == 0) return text;
    if (file.is_packed() && text.size() > kLargestPacked) {
      throw FormatError(path.string() + ": expected packed data of at most " +
                        std::to_string(kLargestPacked) + " bytes, got more");
    }
  }
}

std::filesystem::path unpacked_name(const std::filesystem::path& path) {
  std::filesystem::path name = path;
  if (path.extension() == ".gz" || path.extension() == ".zst") name.replace_extension();
  return name;
}

}  // namespace diffllama
