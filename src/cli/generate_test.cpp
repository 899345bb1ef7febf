#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "cli/test_command.h"
#include "diffllama/error.h"

namespace diffllama::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(GenerateCommand, WritesTheTextAlone) {
  const json expected = golden("plain");
  const Output output = run({"generate", "-m", kTiny, "--dtype", "float32", "-p",
                             expected["prompt"], "--max-new-tokens", "100"});
  EXPECT_EQ(output.text, expected["text"].get<std::string>());
  EXPECT_THAT(output.errors, HasSubstr("100 new tokens"));
}

TEST(GenerateCommand, TakesEveryTypeOfCache) {
  const json expected = golden("plain");
  for (const char* type : {"auto", "f32", "bf16", "q8_0"}) {
    const Output output = run({"generate", "-m", kTiny, "--dtype", "float32", "--cache-type", type,
                               "-p", expected["prompt"], "--max-new-tokens", "4"});
    // The first words are far from a tie: rounding does not change them.
    EXPECT_FALSE(output.text.empty()) << type;
    EXPECT_TRUE(expected["text"].get<std::string>().starts_with(output.text)) << type;
  }
}

TEST(GenerateCommand, WritesAnObjectForEachSequence) {
  const json one = golden("dialogue");
  const json two = golden("scripture");
  const Output output = run({"generate", "-m", kTiny, "--dtype", "float32", "-p", one["prompt"],
                             "-p", two["prompt"], "--max-new-tokens", "64", "--json"});
  const std::vector<json> lines = json_lines(output.text);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0]["index"], 0);
  EXPECT_EQ(lines[0]["ids"], one["ids"]);
  EXPECT_EQ(lines[0]["text"], one["text"]);
  EXPECT_EQ(lines[0]["stop_reason"], "length");
  EXPECT_EQ(lines[0]["timings"]["prompt_tokens"], one["prompt_ids"].size());
  EXPECT_EQ(lines[0]["timings"]["new_tokens"], 64);
  EXPECT_EQ(lines[1]["index"], 1);
  EXPECT_EQ(lines[1]["ids"], two["ids"]);
}

TEST(GenerateCommand, TakesPromptsWithBracketsAndDashes) {
  const Output output = run({"generate", "-m", kTiny, "-p", "[a, b]", "-p", "--json", "-p", "",
                             "--max-new-tokens", "1", "--json"});
  EXPECT_EQ(json_lines(output.text).size(), 3U);
}

TEST(GenerateCommand, TakesAFileWithoutItsLastNewline) {
  const Folder folder;
  const json expected = golden("plain");
  const std::string file = folder.write("prompt.txt", expected["prompt"].get<std::string>() + "\n");
  EXPECT_EQ(
      run({"generate", "-m", kTiny, "--dtype", "float32", "-f", file, "--max-new-tokens", "100"})
          .text,
      expected["text"].get<std::string>());
}

TEST(GenerateCommand, TakesTokenIdsWithoutATokenizer) {
  const Folder folder;
  for (const char* name : {"config.json", "model.safetensors"}) {
    fs::create_symlink(fs::path(kTiny) / name, folder / name);
  }
  const json expected = golden("from_ids");
  const std::string ids = json{expected["prompt_ids"], json{1}}.dump();
  const std::vector<std::string> arguments = {
      "generate",    "-m", folder.path(),      "--dtype", "float32",
      "--input-ids", ids,  "--max-new-tokens", "64"};
  const Output plain = run(arguments);
  EXPECT_EQ(json_lines(plain.text).at(0), expected["ids"]);
  EXPECT_EQ(json_lines(plain.text).at(1), golden("from_bos")["ids"]);
  EXPECT_THAT(plain.errors, HasSubstr("token ids only"));

  auto with_json = arguments;
  with_json.emplace_back("--json");
  const std::vector<json> lines = json_lines(run(with_json).text);
  EXPECT_EQ(lines.at(0)["ids"], expected["ids"]);
  EXPECT_EQ(lines.at(0)["text"], "");
}

TEST(GenerateCommand, StopsAtStrings) {
  const Output output =
      run({"generate", "-m", kTiny, "--dtype", "float32", "-p", golden("stop_string")["prompt"],
           "--stop", "zzz", "--stop", "KING RICHARD", "--json"});
  const json line = json_lines(output.text).at(0);
  EXPECT_EQ(line["ids"], golden("stop_string")["ids"]);
  EXPECT_EQ(line["text"], " my lord, my lord, my lord.\n\n");
  EXPECT_EQ(line["stop_reason"], "stop_string");
  const auto text_of = [](const std::string& stop) {
    return json_lines(run({"generate", "-m", kTiny, "--dtype", "float32", "-p",
                           golden("stop_string")["prompt"], "--stop-strings", stop, "--json"})
                          .text)
        .at(0)["text"];
  };
  EXPECT_EQ(text_of(R"(["zzz", "KING RICHARD"])"), line["text"]);  // a list, as in the config
  for (const char* literal : {"[", "[]", "[1]", R"(["zzz", 1])"}) {
    EXPECT_NE(text_of(literal), line["text"]) << literal;
  }
}

TEST(GenerateCommand, DrawsBySeed) {
  const auto draw = [](const std::string& seed) {
    return run({"generate", "-m", kTiny, "--input-ids", "[[1,40]]", "--temperature", "1.5",
                "--seed", seed, "--num-return-sequences", "2", "--max-new-tokens", "12", "--json"});
  };
  const auto ids = [](const Output& output) {
    std::vector<json> all;
    for (const json& line : json_lines(output.text)) {
      EXPECT_EQ(line["index"], 0);
      all.push_back(line["ids"]);
    }
    return all;
  };
  const auto first = ids(draw("1"));
  ASSERT_EQ(first.size(), 2U);
  EXPECT_NE(first[0], first[1]);
  EXPECT_EQ(first, ids(draw("1")));
  EXPECT_NE(first, ids(draw("18446744073709551615")));
}

TEST(GenerateCommand, TakesDefaultsFromGenerationConfig) {
  const Folder folder;
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json"}) {
    fs::create_symlink(fs::path(kTiny) / name, folder / name);
  }
  folder.write(
      "generation_config.json",
      R"({"max_length": 7, "do_sample": true, "temperature": 2.0, "num_return_sequences": 3})");
  const auto count = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"generate",    "-m",       folder.path(),
                                          "--input-ids", "[[1,40]]", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto lines = json_lines(run(arguments).text);
    return std::pair(lines.size(), lines.at(0)["ids"].size());
  };
  EXPECT_EQ(count({"--ignore-eos"}), std::pair(std::size_t{3}, std::size_t{5}));
  EXPECT_EQ(count({"--ignore-eos", "--max-new-tokens", "9"}),
            std::pair(std::size_t{3}, std::size_t{9}));
  EXPECT_EQ(count({"--temperature", "0", "--num-return-sequences", "1"}).first, 1U);
}

TEST(GenerateCommand, WarnsOfOptionsThatChangeNothing) {
  EXPECT_THAT(
      run({"generate", "-m", kTiny, "-p", "a", "--max-new-tokens", "1", "--top-k", "4"}).errors,
      HasSubstr("warning: --top-k"));
}

TEST(GenerateCommand, KeepsToASchemaAnExpressionOrAGrammar) {
  const Folder folder;
  const auto text_of = [&](const std::string& option, const std::string& value) {
    const json line = json_lines(run({"generate", "-m", kTiny, "-p", "Count:", option, value,
                                      "--max-new-tokens", "60", "--json"})
                                     .text)
                          .at(0);
    EXPECT_EQ(line["stop_reason"], "eos");
    return line["text"].get<std::string>();
  };
  // Any digit as 0, any letter of the grammar as a.
  const auto shape_of = [](std::string text) {
    for (char& c : text) {
      if (c >= '0' && c <= '9') c = '0';
      if (c >= 'a' && c <= 'c') c = 'a';
    }
    return text;
  };
  EXPECT_EQ(shape_of(text_of("--regex", "[0-9]{3}, \xc3\xa9")), "000, \xc3\xa9");
  EXPECT_EQ(text_of("--regex", ""), "");
  const std::string schema =
      folder.write("schema.json", R"({"type": "object", "properties": {"name": {"type": "string",
        "maxLength": 8}, "age": {"type": "integer", "minimum": 1, "maximum": 99}},
        "required": ["name", "age"]})");
  const json value = json::parse(text_of("--json-schema", schema));
  EXPECT_LE(value["name"].get<std::string>().size(), 40U);
  EXPECT_GE(value["age"], 1);
  EXPECT_LE(value["age"], 99);
  const std::string grammar = folder.write("list.gbnf", R"(root ::= "<" ([a-c] ","){2} ">")");
  EXPECT_EQ(shape_of(text_of("--grammar", grammar)), "<a,a,>");
  EXPECT_THAT(
      [&] {
        run({"generate", "-m", kTiny, "-p", "a", "--json-schema",
             folder.write("bad.json", R"({"not": {}})")});
      },
      ThrowsMessage<FormatError>(HasSubstr("bad.json: json_schema: #/not: expected a keyword")));
  EXPECT_THAT(
      [&] {
        run({"generate", "-m", kTiny, "-p", "a", "--regex", "("});
      },
      ThrowsMessage<FormatError>(HasSubstr("--regex: regex: regular expression")));
}

TEST(GenerateCommand, EndsAtAnyOfTheEosTokens) {
  const json plain =
      json_lines(
          run({"generate", "-m", kTiny, "-p", "To be", "--max-new-tokens", "9", "--json"}).text)
          .at(0);
  const std::int64_t third = plain["ids"][2];
  for (const std::string& list :
       {"4000," + std::to_string(third), "[4000," + std::to_string(third) + "]"}) {
    const json line =
        json_lines(
            run({"generate", "-m", kTiny, "-p", "To be", "--json", "--eos-token-id", list}).text)
            .at(0);
    EXPECT_EQ(line["stop_reason"], "eos");
    EXPECT_EQ(line["ids"].back(), third);
  }
}

TEST(GenerateCommand, RefusesAWrongCommandLine) {
  const auto expect = [](std::vector<std::string> more, const std::string& message) {
    std::vector<std::string> arguments = {"generate", "-m", kTiny};
    arguments.insert(arguments.end(), more.begin(), more.end());
    EXPECT_THAT([&] { run(arguments); }, ThrowsMessage<CLI::ParseError>(HasSubstr(message)));
  };
  expect({"-p", "a", "--max-new-tokens", "0"}, "max_new_tokens: expected");
  expect({"-p", "a", "--max-new-tokens", "x"}, "max_new_tokens: expected");
  expect({"-p", "a", "--max-new-tokens", "99999999999999999999"}, "max_new_tokens");
  expect({"-p", "a", "--temperature", "nan"}, "temperature: expected");
  expect({"-p", "a", "--temperature", "-1"}, "temperature: expected");
  expect({"-p", "a", "--max-new-tokens", "-1"}, "max_new_tokens: expected");
  expect({"-p", "a", "--max-new-tokens", "1e99"}, "max_new_tokens: expected");
  expect({"-p", "a", "--top-p", "1.5"}, "top_p: expected");
  expect({"-p", "a", "--min-p", "-0.1"}, "min_p: expected");
  expect({"-p", "a", "--top-k", "-2"}, "top_k: expected");
  expect({"-p", "a", "--repetition-penalty", "0"}, "repetition_penalty: expected");
  expect({"-p", "a", "--no-repeat-ngram-size", "-1"}, "no_repeat_ngram_size: expected");
  expect({"-p", "a", "--num-return-sequences", "0"}, "num_return_sequences: expected");
  expect({"-p", "a", "--num-return-sequences", "2"}, "num_return_sequences: expected");
  expect({"-p", "a", "--stop", ""}, "stop_strings: expected");
  for (const char* seed : {"-1", "1.5", "18446744073709551616"}) {
    expect({"-p", "a", "--seed", seed}, "expected an integer from 0 to 18446744073709551615");
  }
  expect({"-p", "a", "--input-ids", "[[1]]"}, "excludes");
  expect({"-p", "a", "--regex", "a", "--grammar", "x"}, "excludes");
  expect({"-p", "a", "--bad-words-ids", "[1]"}, "bad_words_ids: expected");
  expect({"-p", "a", "--eos-token-id", "1,x"}, "eos_token_id: expected");
  for (const char* ids : {"[1,2]", "5", "[[1.5]]", "[[1],\"a\"]", "[[\"1\"]]", "[[1]", "[]", "",
                          "x", "[[2e3]]", "[[9223372036854775808]]", "[[99999999999999999999]]"}) {
    expect({"--input-ids", ids}, "expected lists of token ids");
  }
}

TEST(GenerateCommand, RefusesWhatTheModelCannotDo) {
  const auto expect = [](const std::string& ids, const std::string& message) {
    EXPECT_THAT(
        [&] {
          run({"generate", "-m", kTiny, "--input-ids", ids});
        },
        ThrowsMessage<InvalidArgument>(HasSubstr(message)));
  };
  expect("[[4096]]", "expected 0..4095, got 4096");
  expect("[[-1]]", "expected 0..4095, got -1");
  expect("[[]]", "expected at least one token");
  for (const char* ids : {"-1", "2,4096"}) {
    EXPECT_THAT(([&] {
                  run({"generate", "-m", kTiny, "-p", "a", "--eos-token-id", ids});
                }),
                ThrowsMessage<CLI::ValidationError>(HasSubstr(
                    "eos_token_id: expected ids 0..4095 of the model's vocabulary, got")));
  }
  EXPECT_THAT(
      [] {
        run({"generate", "-m", kTiny, "-f", "/nowhere/at/all"});
      },
      ThrowsMessage<IoError>(HasSubstr("/nowhere/at/all: cannot open")));
  const std::string tagger = kGoldens + "/forward/diffllama_token";
  EXPECT_THAT(
      [&] {
        run({"generate", "-m", tagger, "--input-ids", "[[1]]"});
      },
      ThrowsMessage<InvalidArgument>(HasSubstr("[generate] expected a causal LM")));
}

TEST(GenerateCommand, AnAdapterChangesTheModel) {
  const std::vector<std::string> arguments = {"generate",         "-m",         kCausal,
                                              "--input-ids",      "[[5,9,11]]", "--json",
                                              "--max-new-tokens", "16",         "--ignore-eos"};
  auto with_adapter = arguments;
  with_adapter.insert(with_adapter.end(), {"--adapter", kGoldens + "/adapters/causal_all_linear"});
  EXPECT_NE(json_lines(run(with_adapter).text).at(0)["ids"],
            json_lines(run(arguments).text).at(0)["ids"]);
}

}  // namespace
}  // namespace diffllama::cli
