#include "config/generation_fields.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include <nlohmann/json.hpp>

namespace diffllama {
namespace {

std::string read_file(const std::string& path) {
  std::ifstream file(DIFFLLAMA_SOURCE_DIR "/" + path);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

// What tools/make_generation_goldens.py found in transformers.
std::set<std::string> transformers_fields() {
  return nlohmann::json::parse(read_file("tests/golden/generation_config_fields.json"))["fields"];
}

TEST(GenerationFields, EachFieldOfTransformersIsInOneTable) {
  std::set<std::string> ours, foreign;
  for (const GenerationField& field : generation_field_table()) {
    EXPECT_TRUE(ours.insert(field.name).second) << field.name;
  }
  for (const ForeignGenerationField& field : foreign_generation_fields()) {
    EXPECT_TRUE(foreign.insert(std::string(field.name)).second) << field.name;
  }
  const std::set<std::string> known = transformers_fields();
  for (const std::string& name : known) {
    EXPECT_EQ(ours.count(name) + foreign.count(name), 1U) << name;
  }
  for (const std::string& name : foreign) EXPECT_TRUE(known.contains(name)) << name;
}

// The tables of docs/generation.md are made of these rows.
TEST(GenerationFields, TheDocumentSaysSo) {
  const std::string document = read_file("docs/generation.md");
  const std::set<std::string> known = transformers_fields();
  const auto expect = [&](const std::string& row) {
    EXPECT_NE(document.find("\n" + row + "\n"), std::string::npos) << row;
  };
  std::size_t rows = 0;
  for (const GenerationField& field : generation_field_table()) {
    const char* status = known.contains(field.name) ? "supported" : "ours";
    expect("| `" + field.name + "` | " + status + " | " + field.help + " |");
    ++rows;
  }
  for (const ForeignGenerationField& field : foreign_generation_fields()) {
    const char* status = field.off.empty() ? "no effect" : "ignored, with a warning";
    expect("| `" + std::string(field.name) + "` | " + status + " | " + std::string(field.why) +
           " |");
    ++rows;
  }
  std::size_t found = 0;
  for (std::size_t at = 0; (at = document.find("\n| `", at)) != std::string::npos; ++at) ++found;
  EXPECT_EQ(found, rows);
}

}  // namespace
}  // namespace diffllama
