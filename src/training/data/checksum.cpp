#include "training/data/checksum.h"

#include <array>

namespace diffllama {
namespace {

constexpr std::size_t kSlices = 8;  // bytes that one step takes
using Tables = std::array<std::array<std::uint64_t, 256>, kSlices>;

// Table s: what a byte does to the state when s more bytes follow it in the same step.
constexpr Tables make_tables() {
  constexpr std::uint64_t kPolynomial = 0xC96C5795D7870F42;
  Tables tables{};
  for (std::uint64_t byte = 0; byte < 256; ++byte) {
    std::uint64_t state = byte;
    for (int bit = 0; bit < 8; ++bit) {
      state = (state >> 1) ^ ((state & 1) != 0 ? kPolynomial : 0);
    }
    tables[0][byte] = state;
  }
  for (std::size_t slice = 1; slice < kSlices; ++slice) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint64_t before = tables[slice - 1][byte];
      tables[slice][byte] = (before >> 8) ^ tables[0][before & 0xFF];
    }
  }
  return tables;
}

constexpr Tables kTables = make_tables();

std::uint64_t to_integer(std::byte byte) { return std::to_integer<std::uint64_t>(byte); }

}  // namespace

void Checksum::add(std::span<const std::byte> bytes) {
  while (bytes.size() >= kSlices) {
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < kSlices; ++i) word |= to_integer(bytes[i]) << (8 * i);
    word ^= state_;
    state_ = 0;
    for (std::size_t i = 0; i < kSlices; ++i) {
      state_ ^= kTables[kSlices - 1 - i][(word >> (8 * i)) & 0xFF];
    }
    bytes = bytes.subspan(kSlices);
  }
  for (const std::byte byte : bytes) {
    state_ = (state_ >> 8) ^ kTables[0][(state_ ^ to_integer(byte)) & 0xFF];
  }
}

void Checksum::add(std::uint64_t value) {
  std::array<std::byte, 8> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(value >> (8 * i));
  }
  add(bytes);
}

}  // namespace diffllama
