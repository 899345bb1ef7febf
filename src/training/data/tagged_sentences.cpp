#include "training/data/tagged_sentences.h"

#include <algorithm>
#include <set>

#include "diffllama/error.h"
#include "training/data/conll.h"
#include "training/data/conllu.h"
#include "training/data/data_file.h"

namespace diffllama {
namespace {

bool has_rows(const std::filesystem::path& path) {
  const std::string extension = unpacked_name(path).extension().string();
  return extension == ".jsonl" || extension == ".ndjson" || extension == ".json";
}

}  // namespace

std::string TagFormat::tag_name() const {
  if (kind == Kind::conll) return "tag";
  return column == ConlluColumn::upos ? "UPOS" : "XPOS";
}

std::unique_ptr<SentenceReader> SentenceReader::open(const std::filesystem::path& path,
                                                     const TagFormat& format) {
  if (format.kind == TagFormat::Kind::conllu) {
    return std::make_unique<ConlluReader>(path, format.column);
  }
  if (has_rows(path)) {
    return std::make_unique<SentenceRows>(path, format.words_column, format.tags_column);
  }
  return std::make_unique<ConllReader>(path);
}

std::vector<std::string> collect_tags(const std::vector<std::filesystem::path>& files,
                                      const TagFormat& format, BadRows& bad_rows) {
  std::set<std::string> tags;
  std::int64_t largest = -1;
  for (const std::filesystem::path& file : files) {
    const auto reader = SentenceReader::open(file, format);
    std::vector<TaggedWord> words;
    while (bad_rows.next_good([&] { return reader->next(words); })) {
      for (const TaggedWord& word : words) {
        if (word.tag_number) largest = std::max(largest, *word.tag_number);
        if (!word.tag_number && !word.tag.empty()) tags.insert(word.tag);
      }
    }
  }
  std::vector<std::string> names(tags.begin(), tags.end());
  if (names.empty()) {
    for (std::int64_t i = 0; i <= largest; ++i) names.push_back("LABEL_" + std::to_string(i));
  }
  if (names.empty()) {
    throw FormatError((files.empty() ? "no file" : files[0].string()) + ": " + format.tag_name() +
                      ": expected tags, got none");
  }
  return names;
}

}  // namespace diffllama
