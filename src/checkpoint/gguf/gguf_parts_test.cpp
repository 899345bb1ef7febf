#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf/gguf.h"
#include "checkpoint/gguf/gguf_test_writer.h"
#include "diffllama/checkpoint.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

const fs::path kModel = fs::path(DIFFLLAMA_SOURCE_DIR) / "tests/golden/forward/llama_causal";

void silent(const std::string& /*text*/) {}

class GgufParts : public testing::Test {
 protected:
  fs::path path(const std::string& name) const { return directory_.path() / name; }

  // One part: a tensor for each name, and the keys that say which part it is.
  void write_part(const std::string& name, std::uint16_t number, std::uint16_t count,
                  const std::vector<std::string>& tensors, std::int32_t all = 3) const {
    GgufTestWriter file;
    if (number == 0) file.add("general.architecture", "llama");
    file.add(kSplitNumberKey, 2, raw(number));
    file.add(kSplitCountKey, 2, raw(count));
    file.add(kSplitTensorsKey, 5, raw(all));
    for (const std::string& tensor : tensors) file.add_counting(tensor, {4}, number);
    directory_.write(name, file.bytes());
  }
  void write_three() const {
    write_part("m.x-00001-of-00003.gguf", 0, 3, {});
    write_part("m.x-00002-of-00003.gguf", 1, 3, {"b", "a"});
    write_part("m.x-00003-of-00003.gguf", 2, 3, {"c"});
  }
  std::string refused(const std::string& name = "m.x-00001-of-00003.gguf") const {
    return refusal([&] { const GgufFile file(path(name)); });
  }

  TestDirectory directory_;
};

TEST_F(GgufParts, OpenByTheFirst) {
  write_three();
  const GgufFile file(path("m.x-00001-of-00003.gguf"));
  EXPECT_EQ(file.text("general.architecture"), "llama");
  EXPECT_EQ(file.tensors().size(), 3U);
  float value = 0;
  std::memcpy(&value, file.tensors().at("c").bytes.data(), sizeof value);
  EXPECT_EQ(value, 2.0F);
  EXPECT_EQ(file.paths().size(), 3U);
  EXPECT_EQ(file.tensor_where("a"), path("m.x-00002-of-00003.gguf").string() + ": tensor a");
}

TEST_F(GgufParts, MayBeLinks) {
  write_three();
  fs::create_directory(path("blobs"));
  fs::create_directory(path("snapshot"));
  for (const char* name :
       {"m.x-00001-of-00003.gguf", "m.x-00002-of-00003.gguf", "m.x-00003-of-00003.gguf"}) {
    fs::rename(path(name), path("blobs") / std::to_string(std::hash<std::string>()(name)));
    fs::create_symlink(fs::path("../blobs") / std::to_string(std::hash<std::string>()(name)),
                       path("snapshot") / name);
  }
  EXPECT_EQ(GgufFile(path("snapshot") / "m.x-00001-of-00003.gguf").tensors().size(), 3U);
}

TEST_F(GgufParts, RefuseWhatDoesNotBelongTogether) {
  write_three();
  EXPECT_EQ(refused(), "accepted");
  EXPECT_THAT(refused("m.x-00002-of-00003.gguf"),
              AllOf(HasSubstr("key \"split.no\": expected 0, the first of the 3 parts"),
                    HasSubstr("got 1")));
  fs::rename(path("m.x-00002-of-00003.gguf"), path("kept"));
  EXPECT_THAT(refused(), HasSubstr("missing: m.x-00002-of-00003.gguf"));
  write_part("m.x-00002-of-00003.gguf", 2, 3, {"a", "b"});
  EXPECT_THAT(refused(), HasSubstr("m.x-00002-of-00003.gguf: key \"split.no\": expected 1, got 2"));
  write_part("m.x-00002-of-00003.gguf", 1, 4, {"a", "b"});
  EXPECT_THAT(refused(), HasSubstr("key \"split.count\": expected 3, got 4"));
  GgufTestWriter stranger;
  stranger.add_counting("a", {4});
  directory_.write("m.x-00002-of-00003.gguf", stranger.bytes());
  EXPECT_THAT(refused(), HasSubstr("key \"split.no\": expected 1, got none"));
  write_part("m.x-00002-of-00003.gguf", 1, 3, {"a", "c"});
  EXPECT_THAT(refused(), HasSubstr("\"c\": expected each tensor in one part"));
  write_part("m.x-00002-of-00003.gguf", 1, 3, {"a"});
  EXPECT_THAT(refused(),
              HasSubstr("key \"split.tensors.count\": expected 2, as the parts hold, got 3"));
  const std::string whole = read_whole_file(path("kept"));
  directory_.write("m.x-00002-of-00003.gguf", whole.substr(0, whole.size() - 8));
  EXPECT_THAT(refused(), HasSubstr("m.x-00002-of-00003.gguf: tensor \"a\": expected 16 bytes"));
  directory_.write("m.x-00002-of-00003.gguf", "version https://git-lfs.github.com/spec/v1\n");
  EXPECT_THAT(refused(), AllOf(HasSubstr("m.x-00002-of-00003.gguf"), HasSubstr("Git LFS")));
  fs::rename(path("m.x-00001-of-00003.gguf"), path("other.gguf"));
  EXPECT_THAT(refused("other.gguf"), HasSubstr("a name that ends in -00001-of-00003.gguf"));
  write_part("m-00001-of-70000.gguf", 0, 3, {});
  EXPECT_THAT(refused("m-00001-of-70000.gguf"), HasSubstr("-00001-of-00003.gguf"));
}

TEST_F(GgufParts, AreNamedByTheFirst) {
  EXPECT_EQ(gguf_parts_named("a-00001-of-00002/m-00001-of-00003.gguf"),
            (std::vector<fs::path>{"a-00001-of-00002/m-00001-of-00003.gguf",
                                   "a-00001-of-00002/m-00002-of-00003.gguf",
                                   "a-00001-of-00002/m-00003-of-00003.gguf"}));
  for (const char* name : {"m.gguf", "m-00002-of-00003.gguf", "m-00001-of-3.gguf",
                           "m-00001-of-00000.gguf", "m-00001-of-00003", "m-00001-of-99999.gguf"}) {
    EXPECT_TRUE(gguf_parts_named(name).empty()) << name;
  }
}

TEST_F(GgufParts, AreWrittenAndReadAsTheOneFile) {
  const ConvertOptions whole = {.warn = silent, .progress = {}};
  ConvertOptions parts = whole;
  parts.part_bytes = 6000;
  convert_model(kModel, path("one.gguf"), whole);
  convert_model(kModel, path("m.gguf"), parts);
  EXPECT_FALSE(fs::exists(path("m.gguf")));
  std::vector<fs::path> names;
  for (const auto& entry : fs::directory_iterator(directory_.path())) {
    if (entry.path().filename().string().starts_with("m-")) names.push_back(entry.path());
  }
  ASSERT_GT(names.size(), 2U);
  std::ranges::sort(names);
  const fs::path first = names.front();
  EXPECT_EQ(first, gguf_part_path(path("m"), 0, static_cast<std::int64_t>(names.size())));
  const GgufFile one(path("one.gguf"));
  const GgufFile file(first);
  ASSERT_EQ(file.tensors().size(), one.tensors().size());
  for (const auto& [name, view] : one.tensors()) {
    EXPECT_TRUE(std::ranges::equal(view.bytes, file.tensors().at(name).bytes)) << name;
  }
  // What is made of the parts is made of one file.
  quantize_model(path("one.gguf"), path("one_q8.gguf"), "Q8_0", {.warn = silent, .progress = {}});
  quantize_model(first, path("q8.gguf"), "Q8_0", {.warn = silent, .progress = {}});
  EXPECT_TRUE(read_whole_file(path("one_q8.gguf")) == read_whole_file(path("q8.gguf")));
  convert_model(first, path("back"), whole);
  EXPECT_TRUE(read_whole_file(path("back") / "model.safetensors") ==
              read_whole_file(kModel / "model.safetensors"));
  // All that fits stays one file.
  parts.part_bytes = 1'000'000'000;
  convert_model(kModel, path("fits.gguf"), parts);
  EXPECT_TRUE(read_whole_file(path("fits.gguf")).size() ==
              read_whole_file(path("one.gguf")).size());
  EXPECT_THAT(refusal([&] { convert_model(path("one.gguf"), path("n"), parts); }),
              HasSubstr("expected a .gguf file with --split-max-size"));
}

}  // namespace
}  // namespace diffllama
