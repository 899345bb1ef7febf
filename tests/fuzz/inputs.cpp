#include "fuzz/inputs.h"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "diffllama/error.h"
#include "training/data/checksum.h"

namespace diffllama::fuzz {
namespace {

namespace fs = std::filesystem;

std::uint64_t checksum_of(std::string_view text) {
  Checksum checksum;
  checksum.add(text);
  return checksum.value();
}

}  // namespace

InputFile::InputFile(std::span<const std::byte> bytes) : file_(::memfd_create("input", 0)) {
  const auto size = static_cast<ssize_t>(bytes.size());
  if (file_ < 0 || ::write(file_, bytes.data(), bytes.size()) != size) std::abort();
}

InputFile::~InputFile() { ::close(file_); }

fs::path InputFile::path() const { return "/proc/self/fd/" + std::to_string(file_); }

ScratchFolder::ScratchFolder() {
  std::string name = fs::temp_directory_path() / "diffllama-fuzz-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) std::abort();
  path_ = name;
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

AdapterFolder::AdapterFolder() {
  std::ofstream(path() / "adapter_config.json")
      << R"({"peft_type": "LORA", "task_type": "SEQ_CLS", "r": 2, "target_modules": ["q_proj"]})";
}

void AdapterFolder::link_weights(const fs::path& weights) const {
  const fs::path link = path() / "adapter_model.safetensors";
  fs::remove(link);
  fs::create_symlink(weights, link);
}

std::string with_checksum(std::string_view text) {
  nlohmann::json fields = parse_json(text, "trainer_state.json");
  if (!fields.is_object()) throw FormatError("trainer_state.json: expected an object, got another");
  fields.erase("checksum");
  const std::string rest = fields.dump();
  std::array<char, 48> checksum{};
  std::snprintf(checksum.data(), checksum.size(), "%zu:%016llx", rest.size(),
                static_cast<unsigned long long>(checksum_of(rest)));
  fields["checksum"] = checksum.data();
  return fields.dump();
}

void forge_shard_checksums(std::string& shard) {
  constexpr std::size_t kHeader = 96, kDataChecksumAt = 80, kHeaderChecksumAt = 88;
  if (shard.size() < kHeader) return;
  const auto put = [&](std::size_t at, std::uint64_t value) {
    std::memcpy(shard.data() + at, &value, sizeof value);
  };
  put(kDataChecksumAt, checksum_of(std::string_view(shard).substr(kHeader)));
  put(kHeaderChecksumAt, checksum_of(std::string_view(shard).substr(0, kHeaderChecksumAt)));
}

}  // namespace diffllama::fuzz
