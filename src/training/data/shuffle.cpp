#include "training/data/shuffle.h"

#include <bit>
#include <string>

#include "base/random.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

constexpr int kRounds = 12;
// Keeps these numbers apart from others that are drawn with the same seed and stream.
constexpr std::uint64_t kTag = std::uint64_t{0x53} << 56;

// A Feistel network on numbers of 2 * half_bits bits: a permutation whatever its round function,
// which is Philox here.
std::uint64_t permute(const Random& random, std::uint64_t value, int half_bits) {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits) - 1;
  std::uint64_t left = value >> half_bits;
  std::uint64_t right = value & mask;
  for (int round = 0; round < kRounds; ++round) {
    const auto words = random.block(kTag | static_cast<std::uint64_t>(round) << 40 | right);
    const std::uint64_t next = (left ^ words[0]) & mask;
    left = right;
    right = next;
  }
  return left << half_bits | right;
}

}  // namespace

std::int64_t shuffled_example(std::uint64_t seed, std::int64_t index, std::int64_t size) {
  if (index < 0 || size < 1 || size > std::int64_t{1} << 62) {
    throw InvalidArgument("[shuffle] expected an index of 0 or more among 1..2^62 examples, got " +
                          std::to_string(index) + " among " + std::to_string(size));
  }
  const auto count = static_cast<std::uint64_t>(size);
  const Random random(seed, static_cast<std::uint64_t>(index / size));
  const int half_bits =
      (static_cast<int>(std::bit_width(count - 1)) + 1) / 2;  // 4^half_bits >= size
  // Cycle walking: what leaves 0..size-1 is permuted again until it is back, which keeps the whole
  // a permutation. Fewer than four steps are expected.
  auto value = static_cast<std::uint64_t>(index % size);
  do {
    value = permute(random, value, half_bits);
  } while (value >= count);
  return static_cast<std::int64_t>(value);
}

}  // namespace diffllama
