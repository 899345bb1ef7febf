#include "training/data/token_shards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "checkpoint/gguf/gguf_tokenizer.h"
#include "tokenizer/load_tokenizer.h"
#include "training/data/checksum.h"
#include "training/data/test_folder.h"
#include "training/data/tokenize_corpus.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<std::int64_t> all_tokens(const TokenShards& shards) {
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(shards.tokens()));
  shards.copy_tokens(0, tokens);
  return tokens;
}

std::vector<std::string> files_of(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

// Three documents, the second of them empty, and what their tokens are.
class Corpus {
 public:
  Corpus() {
    options.paths = {
        folder.write("a.jsonl", "{\"text\": \"In the beginning God created\"}\n{\"text\": \"\"}\n"),
        folder.write("b.txt", "And the earth was without form, \xFFvoid.\n")};
    options.warn = [this](const std::string& text) { warnings.push_back(text); };
    for (const char* text :
         {"In the beginning God created", "", "And the earth was without form, \xFFvoid.\n"}) {
      starts.push_back(static_cast<std::int64_t>(tokens.size()));
      const auto ids = tiny_tokenizer().encode(text).ids;
      tokens.insert(tokens.end(), ids.begin(), ids.end());
    }
  }
  TokenShards make(int threads = 1) const {
    return tokenize_corpus(tiny_tokenizer(), fingerprint, options, directory(), Parallel(threads));
  }
  fs::path directory() const { return folder / "shards"; }
  fs::path shard(std::uint64_t number = 0) const { return token_shard_path(directory(), number); }

  TestFolder folder;
  CorpusOptions options;
  std::uint64_t fingerprint = 17;
  std::vector<std::string> warnings;
  std::vector<std::int64_t> tokens, starts;
};

TEST(TokenShards, HoldWhatTheTokenizerGives) {
  Corpus corpus;
  const TokenShards shards = corpus.make();
  EXPECT_EQ(all_tokens(shards), corpus.tokens);
  EXPECT_EQ(shards.documents(), 3);
  EXPECT_EQ(shards.document_starts(0, shards.tokens()), corpus.starts);
  EXPECT_EQ(shards.vocab_size(), 4096);
  EXPECT_EQ(shards.tokenizer_fingerprint(), 17U);
  EXPECT_EQ(files_of(corpus.directory()), std::vector<std::string>{"tokens-00000.bin"});
  // Header, three offsets, two bytes a token.
  EXPECT_EQ(fs::file_size(corpus.shard()), 96 + 24 + 2 * corpus.tokens.size());
}

TEST(TokenShards, GiveAnyPartWhateverTheCut) {
  Corpus corpus;
  const auto size = static_cast<std::int64_t>(corpus.tokens.size());
  for (const std::int64_t per_shard : {1, 2, 3, 7, 1000}) {
    corpus.options.tokens_per_shard = per_shard;
    const TokenShards shards = corpus.make();
    ASSERT_EQ(shards.tokens(), size);
    EXPECT_EQ(shards.documents(), 3);
    for (std::int64_t first = 0; first <= size; ++first) {
      for (std::int64_t count = 0; first + count <= size; ++count) {
        std::vector<std::int64_t> part(static_cast<std::size_t>(count));
        shards.copy_tokens(first, part);
        EXPECT_TRUE(std::equal(part.begin(), part.end(), corpus.tokens.begin() + first));
        std::vector<std::int64_t> starts;
        for (const std::int64_t start : corpus.starts) {
          if (start >= first && start < first + count) starts.push_back(start - first);
        }
        EXPECT_EQ(shards.document_starts(first, count), starts) << first << " " << count;
      }
    }
    EXPECT_EQ(files_of(corpus.directory()).size(),
              static_cast<std::size_t>((size + per_shard - 1) / per_shard));
  }
}

TEST(TokenShards, EndDocumentsWithEosWhenAsked) {
  Corpus corpus;
  corpus.options.append_eos = true;
  corpus.options.paths = {corpus.folder.write("c.txt", "form"),
                          corpus.folder.write("d.txt", "form</s>")};
  const std::vector<std::int64_t> tokens = all_tokens(corpus.make());
  std::vector<std::int64_t> expected = tiny_tokenizer().encode("form</s>").ids;
  ASSERT_EQ(expected.back(), 2);
  expected.insert(expected.end(), expected.begin(), expected.end());
  EXPECT_EQ(tokens, expected);
}

TEST(TokenShards, HaveTheSameBytesWhateverTheThreads) {
  Corpus corpus;
  std::string lines;
  for (int i = 0; i < 2000; ++i) {
    lines += R"({"text": ")" + std::string(static_cast<std::size_t>(i % 37), 'a') + " verse " +
             std::to_string(i) + "\"}\n";
  }
  corpus.options.paths = {corpus.folder.write("many.jsonl", lines)};
  corpus.options.tokens_per_shard = 5000;
  corpus.make(1);
  std::vector<std::string> bytes;
  for (const std::string& name : files_of(corpus.directory())) {
    bytes.push_back(read_whole_file(corpus.directory() / name));
  }
  EXPECT_GT(bytes.size(), 2U);
  for (const int threads : {2, 5}) {
    fs::remove_all(corpus.directory());
    corpus.make(threads);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      EXPECT_EQ(read_whole_file(corpus.shard(i)), bytes[i]) << i;
    }
  }
}

TEST(TokenShards, AreUsedAgain) {
  Corpus corpus;
  corpus.make();
  const auto made = fs::last_write_time(corpus.shard());
  int calls = 0;
  corpus.options.progress = [&](std::uint64_t, std::uint64_t, std::int64_t) { ++calls; };
  EXPECT_EQ(all_tokens(corpus.make()), corpus.tokens);
  EXPECT_EQ(fs::last_write_time(corpus.shard()), made);
  EXPECT_EQ(calls, 0);
  EXPECT_TRUE(corpus.warnings.empty());
}

TEST(TokenShards, GoOnWhereARunWasEnded) {
  for (const std::int64_t per_shard : {3, 5}) {
    Corpus corpus;
    corpus.options.paths.push_back(corpus.folder.write("c.jsonl", R"({"text": "The end of it"})"));
    corpus.options.tokens_per_shard = per_shard;
    const std::vector<std::int64_t> tokens = all_tokens(corpus.make());
    const std::vector<std::string> files = files_of(corpus.directory());
    std::vector<std::string> bytes;
    bytes.reserve(files.size());
    for (const std::string& file : files) {
      bytes.push_back(read_whole_file(corpus.directory() / file));
    }
    for (std::size_t kept = 1; kept < files.size(); ++kept) {
      // What a run leaves that is ended behind shard `kept`: made by one whose next shard cannot
      // be written.
      fs::remove_all(corpus.directory());
      fs::create_directories(corpus.shard(kept));
      EXPECT_THAT(message_of<IoError>([&] { corpus.make(); }), HasSubstr(files[kept]));
      fs::remove(corpus.shard(kept));
      const auto made = fs::last_write_time(corpus.shard(0));
      corpus.warnings.clear();
      EXPECT_EQ(all_tokens(corpus.make(2)), tokens);
      EXPECT_EQ(fs::last_write_time(corpus.shard(0)), made) << "made anew";
      EXPECT_TRUE(corpus.warnings.empty());
      EXPECT_EQ(files_of(corpus.directory()), files) << "no progress is left";
      corpus.folder.write("shards/progress.json", "{}");  // ended before it was removed
      corpus.make();
      EXPECT_EQ(files_of(corpus.directory()), files);
      for (std::size_t i = 0; i < files.size(); ++i) {
        EXPECT_EQ(read_whole_file(corpus.shard(i)), bytes[i]) << per_shard << " " << kept;
      }
    }
  }
}

TEST(TokenShards, BeginAnewWhereProgressIsOfAnotherSet) {
  Corpus corpus;
  corpus.options.tokens_per_shard = 3;
  const std::vector<std::int64_t> tokens = all_tokens(corpus.make());
  const auto end_after_two = [&] {
    fs::remove_all(corpus.directory());
    fs::create_directories(corpus.shard(2));
    EXPECT_THAT(message_of<IoError>([&] { corpus.make(); }), HasSubstr("tokens-00002"));
    fs::remove(corpus.shard(2));
  };
  for (const char* progress :
       {"", "{", "[]", R"({"shards": -1})", R"({"shards": 2, "documents": 1})",
        R"({"shards": 9, "documents": 1, "tokens": 0})"}) {
    end_after_two();
    corpus.folder.write("shards/progress.json", progress);
    EXPECT_EQ(all_tokens(corpus.make()), tokens) << progress;
  }
  end_after_two();
  corpus.folder.write("shards/progress.json", R"({"shards": 2, "documents": 0, "tokens": 99})");
  EXPECT_THAT(message_of([&] { corpus.make(); }),
              HasSubstr("progress.json: tokens: expected at most"));
  end_after_two();
  corpus.fingerprint = 18;
  EXPECT_EQ(all_tokens(corpus.make()), tokens);
}

TEST(TokenShards, AreMadeAnewForOtherTextsTokenizersAndOptions) {
  Corpus corpus;
  corpus.options.tokens_per_shard = 4;
  corpus.make();
  const std::size_t many = files_of(corpus.directory()).size();
  const auto expect_anew = [&](const std::string& why) {
    TokenShards shards = corpus.make();
    EXPECT_THAT(corpus.warnings, testing::ElementsAre(HasSubstr(why)));
    corpus.warnings.clear();
    return shards;
  };
  corpus.fingerprint = 18;
  EXPECT_EQ(expect_anew("another tokenizer").tokenizer_fingerprint(), 18U);
  corpus.folder.write("b.txt", "And the earth was without form and void.\n");
  EXPECT_NE(all_tokens(expect_anew("other texts or options")), corpus.tokens);
  std::ranges::reverse(corpus.options.paths);
  expect_anew("other texts or options");
  corpus.options.append_eos = true;
  expect_anew("other texts or options");
  // Shards of the longer set that was there are gone.
  corpus.options.tokens_per_shard = 1000;
  expect_anew("other texts or options");
  EXPECT_GT(many, 2U);
  EXPECT_EQ(files_of(corpus.directory()).size(), 1U);
}

TEST(TokenShards, AreMadeAnewWhereOneIsMissing) {
  Corpus corpus;
  corpus.options.tokens_per_shard = 4;
  corpus.make();
  fs::remove(corpus.shard(1));
  EXPECT_THAT(message_of<IoError>([&] { TokenShards::open(corpus.directory(), Parallel(1)); }),
              HasSubstr("tokens-00001.bin"));
  EXPECT_EQ(all_tokens(corpus.make()), corpus.tokens);
  EXPECT_THAT(corpus.warnings, testing::ElementsAre(HasSubstr("tokens-00001.bin is missing")));
}

TEST(TokenShards, NoticeEveryFlippedByte) {
  Corpus corpus;
  corpus.make();
  const std::string good = read_whole_file(corpus.shard());
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    corpus.folder.write("shards/tokens-00000.bin", bad);
    const char* field = at < 8    ? ": magic: expected DLTOKENS"
                        : at < 12 ? ": version: expected 1, got"
                        : at < 16 ? ": header_bytes: expected 96, got"
                        : at < 96 ? ": header_checksum: expected"
                                  : ": data_checksum: expected";
    EXPECT_THAT(message_of([&] { corpus.make(); }),
                AllOf(StartsWith(corpus.shard().string()), HasSubstr(field), HasSubstr("got")))
        << at;
  }
  EXPECT_TRUE(corpus.warnings.empty());
}

TEST(TokenShards, NoticeEveryTruncation) {
  Corpus corpus;
  corpus.make();
  const std::string good = read_whole_file(corpus.shard());
  for (std::size_t size = 0; size < good.size(); ++size) {
    corpus.folder.write("shards/tokens-00000.bin", good.substr(0, size));
    EXPECT_THAT(message_of([&] { corpus.make(); }), StartsWith(corpus.shard().string())) << size;
  }
  corpus.folder.write("shards/tokens-00000.bin", good + "x");
  EXPECT_THAT(message_of([&] { corpus.make(); }), HasSubstr(": size: expected"));
}

// Files whose checksums are right but whose fields are not: each is named.
TEST(TokenShards, CheckEveryField) {
  const TestFolder folder;
  const auto path = token_shard_path(folder.path(), 0);
  struct Content {
    TokenShardHeader header;
    std::vector<std::uint64_t> offsets = {0, 2};
    std::vector<std::uint16_t> tokens = {1, 5, 1, 7};
  };
  const auto message = [&](const std::function<void(Content&)>& change) {
    Content content;
    content.header.vocab_size = 10;
    content.header.tokens = content.tokens.size();
    content.header.documents = content.offsets.size();
    change(content);
    const auto text = [](const auto& values) {
      return std::string(reinterpret_cast<const char*>(values.data()),
                         values.size() * sizeof(values[0]));
    };
    const std::string data = text(content.offsets) + text(content.tokens);
    Checksum sum;
    sum.add(std::string_view(data));
    content.header.data_checksum += sum.value();
    folder.write("tokens-00000.bin", text(encode_header(content.header)) + data);
    return message_of([&] { TokenShards::open(folder.path(), Parallel(1)); });
  };
  const std::string file = path.string() + ": ";
  EXPECT_EQ(message([](Content&) {}), "nothing was thrown");
  EXPECT_EQ(message([](Content& c) { c.header.bytes_per_token = 3; }),
            file + "bytes_per_token: expected 2 or 4, got 3");
  EXPECT_THAT(message([](Content& c) { c.header.bytes_per_token = 4; }),
              StartsWith(file + "size: expected"));
  EXPECT_EQ(message([](Content& c) { c.header.number = 1; }), file + "number: expected 0, got 1");
  EXPECT_EQ(message([](Content& c) { c.header.vocab_size = 0; }),
            file + "vocab_size: expected 1..65536, got 0");
  EXPECT_EQ(message([](Content& c) { c.header.vocab_size = 65'537; }),
            file + "vocab_size: expected 1..65536, got 65537");
  EXPECT_EQ(message([](Content& c) { c.header.vocab_size = 7; }),
            file + "tokens[3]: expected 0..6, got 7");
  EXPECT_EQ(message([](Content& c) { c.header.first_token = 4; }),
            file + "first_token: expected 0, got 4");
  EXPECT_THAT(message([](Content& c) { c.header.first_token = ~0ULL; }),
              StartsWith(file + "first_token: expected 0..2^62"));
  EXPECT_THAT(message([](Content& c) { c.header.tokens = 0; }),
              StartsWith(file + "tokens: expected 1.."));
  EXPECT_THAT(message([](Content& c) { c.header.tokens = 3; }),
              StartsWith(file + "size: expected 118 bytes, got 120"));
  EXPECT_THAT(message([](Content& c) { c.header.tokens = 1ULL << 63; }),
              StartsWith(file + "tokens: expected 1.."));
  EXPECT_THAT(message([](Content& c) { c.header.documents = 1; }),
              StartsWith(file + "size: expected"));
  EXPECT_THAT(message([](Content& c) { c.header.documents = (1ULL << 61) + 2; }),
              StartsWith(file + "documents: expected"));
  EXPECT_THAT(message([](Content& c) { c.header.data_checksum = 1; }),
              StartsWith(file + "data_checksum: expected"));
  EXPECT_EQ(message([](Content& c) {
              c.offsets = {0, 4};
            }),
            file + "document_offsets[1]: expected 1..3, got 4");
  EXPECT_EQ(message([](Content& c) {
              c.offsets = {0, 0};
            }),
            file + "document_offsets[1]: expected 1..3, got 0");
  EXPECT_EQ(message([](Content& c) {
              c.offsets = {1, 2};
            }),
            file + "document_offsets: expected a document at token 0, got none");
  EXPECT_EQ(message([](Content& c) {
              c.offsets = {};
              c.header.documents = 0;
            }),
            file + "document_offsets: expected a document at token 0, got none");
  // One that is not the last waits for the next.
  EXPECT_THAT(message_of<IoError>([&] { message([](Content& c) { c.header.last = false; }); }),
              HasSubstr("tokens-00001.bin: cannot open"));
}

TEST(TokenShards, NoticeAShardOfAnotherSet) {
  Corpus corpus;
  corpus.options.tokens_per_shard = 4;
  corpus.make();
  fs::copy_file(corpus.shard(0), corpus.shard(1), fs::copy_options::overwrite_existing);
  EXPECT_THAT(message_of([&] { corpus.make(); }),
              HasSubstr("tokens-00001.bin: number: expected 1, got 0"));
}

TEST(TokenizeCorpus, SaysWhatCannotBe) {
  Corpus corpus;
  const auto message = [&] { return message_of<Error>([&] { corpus.make(); }); };
  corpus.options.tokens_per_shard = 0;
  EXPECT_EQ(message(), "[tokens_per_shard] expected 1..2^40, got 0");
  corpus.options.tokens_per_shard = 4;
  corpus.options.paths = {corpus.folder.write("bad.jsonl", "{\"text\": \"a b c d e f g\"}\n{")};
  EXPECT_THAT(message(), StartsWith((corpus.folder / "bad.jsonl:2: expected JSON").string()));
  corpus.options.paths = {corpus.folder.write("empty.jsonl", "\n")};
  EXPECT_THAT(message(), HasSubstr("expected documents with tokens in"));
  corpus.options.paths = {corpus.folder / "absent.txt"};
  EXPECT_THAT(message(), HasSubstr("absent.txt: expected a file, got none"));
  corpus.options.paths = {};
  EXPECT_EQ(message(), "[corpus] expected a file of texts, got none");
}

TEST(TokenizeCorpus, TellsHowFarItIs) {
  Corpus corpus;
  std::uint64_t bytes = 0, total = 1;
  std::int64_t tokens = 0;
  corpus.options.progress = [&](std::uint64_t read, std::uint64_t all, std::int64_t made) {
    bytes = read;
    total = all;
    tokens = made;
  };
  const TokenShards shards = corpus.make();
  EXPECT_EQ(bytes, total);
  EXPECT_EQ(tokens, shards.tokens());
}

TEST(TokenizeCorpus, KeepsTheFingerprintOfAGgufTokenizer) {
  const TestFolder folder;
  const std::string json = read_whole_file(tiny_directory() / "tokenizer.json");
  const auto fingerprint = [&](std::int64_t size, const char* verbatim) {
    GgufWriter writer;
    write_gguf_vocabulary(to_gguf_vocabulary({"tokenizer.json", json, "", ""}, size, {}), writer);
    if (verbatim != nullptr) writer.set(kTokenizerJsonKey, verbatim);
    writer.write(folder / "m.gguf", {});
    return tokenizer_fingerprint(folder / "m.gguf");
  };
  const std::uint64_t alone = fingerprint(4096, nullptr);
  EXPECT_EQ(fingerprint(4096, nullptr), alone);
  EXPECT_NE(fingerprint(4097, nullptr), alone);
  EXPECT_NE(fingerprint(4096, "{}"), alone);
}

TEST(TokenizeCorpus, KeepsTheTokenizersFingerprint) {
  const TestFolder folder;
  const std::string json = read_whole_file(tiny_directory() / "tokenizer.json");
  folder.write("tokenizer.json", json);
  const std::uint64_t alone = tokenizer_fingerprint(folder.path());
  EXPECT_EQ(tokenizer_fingerprint(folder.path()), alone);
  folder.write("tokenizer_config.json", "{}");
  EXPECT_NE(tokenizer_fingerprint(folder.path()), alone);
  folder.write("tokenizer.json", json + " ");
  std::filesystem::remove(folder / "tokenizer_config.json");
  EXPECT_NE(tokenizer_fingerprint(folder.path()), alone);
  EXPECT_THAT(message_of<IoError>([&] { tokenizer_fingerprint(folder / "absent"); }),
              HasSubstr("absent"));
}

}  // namespace
}  // namespace diffllama
