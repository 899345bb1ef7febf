#include "engine/prefix_cache.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "model/kv_cache.h"

namespace diffllama {
namespace {

using Ids = std::vector<std::int64_t>;

Ids tokens(std::int64_t first) {
  Ids ids(static_cast<std::size_t>(kCacheBlockKeys));
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

// With one bit of hash nearly everything collides, and is told apart all the same.
class PrefixCacheTest : public testing::TestWithParam<int> {
 protected:
  // A chain of blocks that hold these tokens; where it ends.
  PrefixCache::Place insert(std::initializer_list<Ids> chain) {
    PrefixCache::Place place;
    for (const Ids& ids : chain) {
      place = cache_.insert(place, {.ids = ids, .rotary_class = 0}, pool_.take()).next;
    }
    return place;
  }
  // Blocks of the chain that are found.
  std::int64_t found(std::initializer_list<Ids> chain, std::int64_t rotary_class = 0) {
    PrefixCache::Place place;
    std::int64_t count = 0;
    for (const Ids& ids : chain) {
      const auto block = cache_.find(place, {.ids = ids, .rotary_class = rotary_class});
      if (!block) break;
      place = block->next;
      ++count;
    }
    return count;
  }

  CacheBlockPool pool_{64, 6};
  PrefixCache cache_{pool_, 1, GetParam()};
};

TEST_P(PrefixCacheTest, FindsABlockByItsTokensAndAllBeforeIt) {
  insert({tokens(0), tokens(1), tokens(2)});
  EXPECT_EQ(found({tokens(0), tokens(1), tokens(2)}), 3);
  EXPECT_EQ(found({tokens(0), tokens(2)}), 1);
  EXPECT_EQ(found({tokens(1)}), 0);
  Ids other = tokens(0);
  other.back() += 1;
  EXPECT_EQ(found({other}), 0);
  EXPECT_EQ(found({tokens(0)}, 700), 0) << "turned by other frequencies";
  EXPECT_EQ(pool_.kept(), 3);
}

TEST_P(PrefixCacheTest, GivesBackTheBlockThatIsThere) {
  const CacheBlock first = pool_.take();
  const Ids ids = tokens(5);
  EXPECT_EQ(cache_.insert({}, {.ids = ids}, first).block.index(), first.index());
  {
    const CacheBlock second = pool_.take();
    EXPECT_EQ(cache_.insert({}, {.ids = ids}, second).block.index(), first.index());
    EXPECT_EQ(pool_.used(), 2);
  }
  EXPECT_EQ(pool_.used(), 1);
  EXPECT_EQ(pool_.kept(), 0) << "a sequence holds it still";
}

TEST_P(PrefixCacheTest, DropsTheLeastRecentlyUsedThatNobodyHolds) {
  insert({tokens(0)});
  insert({tokens(1)});
  insert({tokens(2)});
  const CacheBlock held = cache_.find({}, {.ids = tokens(1)})->block;
  found({tokens(0)});
  EXPECT_TRUE(cache_.drop_oldest());
  EXPECT_EQ(found({tokens(2)}), 0);
  EXPECT_TRUE(cache_.drop_oldest());
  EXPECT_EQ(found({tokens(0)}), 0);
  EXPECT_FALSE(cache_.drop_oldest());
  EXPECT_EQ(found({tokens(1)}), 1);
  EXPECT_EQ(pool_.free(), 5);
}

TEST_P(PrefixCacheTest, AChainWhoseBeginningWasDroppedIsNotBelieved) {
  insert({tokens(0), tokens(1)});
  ASSERT_TRUE(cache_.drop_oldest());  // the beginning: nothing touched it last
  EXPECT_EQ(found({tokens(0)}), 0);
  insert({tokens(0)});
  EXPECT_EQ(found({tokens(0), tokens(1)}), 1) << "it is another block than the one before";
}

// A pool that could hold any number of blocks takes memory for those that are there.
TEST(PrefixCacheOfALargePool, GrowsWithTheBlocksInUse) {
  CacheBlockPool pool(64, std::int64_t{1} << 40);
  PrefixCache cache(pool, 1, 64);
  std::vector<Ids> keys;
  PrefixCache::Place place;
  for (std::int64_t i = 0; i < 100; ++i) {
    keys.push_back(tokens(i));
    place = cache.insert(place, {.ids = keys.back(), .rotary_class = 0}, pool.take()).next;
  }
  place = {};
  for (const Ids& ids : keys) {
    const auto block = cache.find(place, {.ids = ids, .rotary_class = 0});
    ASSERT_TRUE(block.has_value());
    place = block->next;
  }
  EXPECT_EQ(pool.kept(), 100);
}

INSTANTIATE_TEST_SUITE_P(HashBits, PrefixCacheTest, testing::Values(64, 1));

TEST(CacheBlockPool, CountsAndGivesBackZeroedBlocks) {
  CacheBlockPool pool(100, 3);
  {
    const CacheBlock one = pool.take();
    const CacheBlock two = pool.take();
    const CacheBlock again = two;  // NOLINT(performance-unnecessary-copy-initialization): a holder
    one.data()[99] = std::byte{7};
    EXPECT_EQ(pool.used(), 2);
    EXPECT_EQ(pool.shared(), 1);
    EXPECT_EQ(pool.free(), 1);
    const CacheBlock three = pool.take();
    EXPECT_THROW(pool.take(), std::bad_alloc);
  }
  EXPECT_EQ(pool.used(), 0);
  EXPECT_EQ(pool.free(), 3);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(pool.take().data()[99], std::byte{0});
}

}  // namespace
}  // namespace diffllama
