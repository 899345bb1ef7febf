#include "checkpoint/model_path.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/test_files.h"
#include "diffllama/checkpoint.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

TEST(ModelPath, ADirectoryStandsForTheOneModelInASubFolder) {
  const TestDirectory directory;
  const fs::path& path = directory.path();
  EXPECT_EQ(find_model(path), path);
  EXPECT_THROW(find_model(path / "nothing"), IoError);
  fs::create_directories(path / "runs");
  fs::create_directories(path / "checkpoint-2");
  directory.write("README.md", "a model");
  EXPECT_EQ(find_model(path), path);
  directory.write("checkpoint-2/config.json", "{}");
  EXPECT_EQ(find_model(path), path / "checkpoint-2");
  EXPECT_EQ(find_model(path / "checkpoint-2"), path / "checkpoint-2");
  directory.write("runs/config.json", "{}");
  EXPECT_THAT(refusal([&] { find_model(path); }),
              HasSubstr("got 2 models: " + (path / "checkpoint-2").string() + ", " +
                        (path / "runs").string()));
  directory.write("config.json", "{}");
  EXPECT_EQ(find_model(path), path);
}

TEST(ModelPath, ADirectoryOfATokenizerIsOneByItself) {
  const TestDirectory directory;
  const fs::path& path = directory.path();
  EXPECT_EQ(find_tokenizer(path / "nothing"), path / "nothing");
  fs::create_directories(path / "checkpoint-2");
  directory.write("checkpoint-2/config.json", "{}");
  EXPECT_EQ(find_tokenizer(path), path / "checkpoint-2");
  directory.write("tokenizer.model", "");
  EXPECT_EQ(find_tokenizer(path), path);
  EXPECT_EQ(find_tokenizer(path / "tokenizer.model"), path / "tokenizer.model");
}

}  // namespace
}  // namespace diffllama
