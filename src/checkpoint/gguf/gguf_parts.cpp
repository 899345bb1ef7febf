// A model in several GGUF files: each has the number of the part, the number of parts and the
// number of all tensors; the other keys stand in the first.
#include <charconv>
#include <functional>
#include <string_view>
#include <system_error>

#include "base/json.h"
#include "checkpoint/gguf/gguf.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMaxParts = 65'535;

std::string five_digits(std::int64_t number) {
  const std::string digits = std::to_string(number);
  return digits.size() < 5 ? std::string(5 - digits.size(), '0') + digits : digits;
}

// What stands behind the prefix.
std::string part_ending(std::int64_t number, std::int64_t count) {
  return std::string{'-'}.append(five_digits(number + 1)) + "-of-" + five_digits(count) + ".gguf";
}

}  // namespace

fs::path gguf_part_path(const fs::path& prefix, std::int64_t number, std::int64_t count) {
  return prefix.string() + part_ending(number, count);
}

std::vector<fs::path> gguf_parts_named(const fs::path& first) {
  constexpr std::string_view kMiddle = "-00001-of-";
  const std::string name = first.string();
  const std::size_t middle = name.rfind(kMiddle);
  std::int64_t count = 0;
  if (middle == std::string::npos) return {};
  const char* const digits = name.data() + middle + kMiddle.size();
  std::from_chars(digits, name.data() + name.size(), count);
  if (count < 1 || count > kMaxParts || !name.ends_with(part_ending(0, count))) return {};
  std::vector<fs::path> paths;
  for (std::int64_t i = 0; i < count; ++i) {
    paths.push_back(gguf_part_path(name.substr(0, middle), i, count));
  }
  return paths;
}

std::vector<fs::path> GgufFile::paths() const {
  std::vector<fs::path> paths;
  if (files_ == nullptr) return paths;
  for (const auto& file : *files_) paths.push_back(file->path());
  return paths;
}

std::string GgufFile::tensor_where(const std::string& name) const {
  std::string path = where_;
  const auto found = tensors_.find(name);
  if (files_ != nullptr && found != tensors_.end()) {
    const std::byte* const data = found->second.bytes.data();
    const std::less<> before;
    for (const auto& file : *files_) {
      const std::byte* const begin = file->bytes().data();
      if (!before(data, begin) && before(data, begin + file->bytes().size())) {
        path = file->path().string();
      }
    }
  }
  return path + ": tensor " + name;
}

void GgufFile::add_parts() {
  const std::int64_t count = integer(kSplitCountKey).value_or(1);
  if (count == 0 || count == 1) return;
  if (count < 0 || count > kMaxParts) {
    refuse(kSplitCountKey, "1 to " + std::to_string(kMaxParts) + " parts", std::to_string(count));
  }
  if (const auto number = integer(kSplitNumberKey).value_or(0); number != 0) {
    refuse(
        kSplitNumberKey,
        "0, the first of the " + std::to_string(count) + " parts of a model, which opens them all",
        std::to_string(number));
  }
  const std::string ending = part_ending(0, count);
  if (!where_.ends_with(ending)) {
    throw FormatError(where_ + ": expected a name that ends in " + ending +
                      ", by which the other " + std::to_string(count - 1) +
                      " parts are found, got another");
  }
  const std::string prefix = where_.substr(0, where_.size() - ending.size());
  std::string missing;
  for (std::int64_t i = 1; i < count; ++i) {
    const fs::path path = gguf_part_path(prefix, i, count);
    std::error_code error;
    if (fs::exists(path, error)) continue;
    if (missing.size() > 1000) {
      missing += ", ...";
      break;
    }
    missing += (missing.empty() ? "" : ", ") + path.filename().string();
  }
  if (!missing.empty()) {
    throw IoError(where_ +
                  ": expected the other parts of the model beside it, missing: " + missing);
  }
  for (std::int64_t i = 1; i < count; ++i) add_part(gguf_part_path(prefix, i, count), i, count);
  const auto tensors = static_cast<std::int64_t>(tensors_.size());
  if (const auto promised = integer(kSplitTensorsKey); promised && *promised != tensors) {
    refuse(kSplitTensorsKey, std::to_string(tensors) + ", as the parts hold",
           std::to_string(*promised));
  }
}

void GgufFile::add_part(const fs::path& path, std::int64_t number, std::int64_t count) {
  GgufFile part;
  part.map(path);
  const auto check = [&](const char* key, std::int64_t expected) {
    const auto found = part.integer(key);
    if (found != expected) {
      part.refuse(key, std::to_string(expected), found ? std::to_string(*found) : "none");
    }
  };
  check(kSplitNumberKey, number);
  check(kSplitCountKey, count);
  for (auto& [name, view] : part.tensors_) {
    if (!tensors_.try_emplace(name, std::move(view)).second) {
      throw FormatError(part.where_ + ": tensor " + json_excerpt(nlohmann::json(name)) +
                        ": expected each tensor in one part, got it in another too");
    }
  }
  files_->push_back(part.files_->front());
}

}  // namespace diffllama
