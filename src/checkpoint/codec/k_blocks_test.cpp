#include "checkpoint/codec/k_blocks.h"

#include <gtest/gtest.h>

#include <array>

namespace diffllama {
namespace {

// Each group its own pair, with all six bits in use, and no bit of a neighbour touched.
TEST(KBlocks, PacksScalesAndMinima) {
  std::array<std::byte, 12> packed = {};
  for (int group = 0; group < 8; ++group) {
    set_group_scale(packed.data(), group, {63 - 7 * group, 5 + 8 * group});
  }
  for (int group = 0; group < 8; ++group) {
    const GroupScale read = group_scale(packed.data(), group);
    EXPECT_EQ(read.scale, 63 - 7 * group) << group;
    EXPECT_EQ(read.minimum, 5 + 8 * group) << group;
  }
}

}  // namespace
}  // namespace diffllama
