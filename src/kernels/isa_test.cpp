#include "kernels/isa.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "diffllama/error.h"

namespace diffllama {
namespace {

TEST(Isa, PortableFirstThenStronger) {
  const auto& isas = available_isas();
  ASSERT_FALSE(isas.empty());
  EXPECT_EQ(isas.front(), Isa::portable);
  EXPECT_TRUE(std::is_sorted(isas.begin(), isas.end()));
  EXPECT_EQ(std::adjacent_find(isas.begin(), isas.end()), isas.end());
}

TEST(Isa, FollowsTheEnvironment) {
  const char* wanted = std::getenv("DIFFLLAMA_ISA");  // NOLINT(concurrency-mt-unsafe)
  if (wanted == nullptr || *wanted == '\0') {
    EXPECT_EQ(active_isa(), available_isas().back());
  } else {
    EXPECT_EQ(isa_name(active_isa()), wanted);
  }
}

TEST(Isa, NamesAreRead) {
  for (const Isa isa : available_isas()) EXPECT_EQ(isa_named(isa_name(isa)), isa);
  try {
    isa_named("avx1024");
    FAIL();
  } catch (const InvalidArgument& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("DIFFLLAMA_ISA: expected one of portable"));
    EXPECT_THAT(error.what(), testing::HasSubstr("got \"avx1024\""));
  }
}

}  // namespace
}  // namespace diffllama
