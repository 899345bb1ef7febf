#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace diffllama {

/// CRC-64/XZ (polynomial of ECMA-182, reflected) of bytes that come in pieces. It finds every error
/// burst of up to 64 bits; it is no defence against forgery.
class Checksum {
 public:
  void add(std::span<const std::byte> bytes);
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
  /// The eight bytes of `value`, lowest first.
  void add(std::uint64_t value);
  std::uint64_t value() const { return ~state_; }

 private:
  std::uint64_t state_ = ~std::uint64_t{0};
};

}  // namespace diffllama
