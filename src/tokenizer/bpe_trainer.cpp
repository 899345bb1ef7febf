#include "tokenizer/bpe_trainer.h"

#include <algorithm>
#include <queue>
#include <unordered_map>
#include <unordered_set>

#include "base/utf8.h"

namespace diffllama {
namespace {

class BpeTrainer {
 public:
  explicit BpeTrainer(const BpeTrainerOptions& options)
      : options_(options), reserved_(options.reserved.begin(), options.reserved.end()) {
    for (const std::string& token : options.reserved) id_of(token);
    for (const std::string& character : options.alphabet) id_of(character);
  }

  TrainedBpe run(const std::vector<TrainingWord>& words) {
    split(words);
    for (std::uint32_t i = 0; i < words_.size(); ++i) count_pairs(i);
    for (const auto& [pair, entry] : pairs_) queue_.push({entry.count, pair});
    while (result_.tokens.size() < options_.vocab_size && !queue_.empty()) {
      const Candidate best = queue_.top();
      queue_.pop();
      const auto entry = pairs_.find(best.pair);
      if (entry == pairs_.end() || entry->second.count < options_.min_frequency) continue;
      if (entry->second.count != best.count) {  // it was counted down since
        queue_.push({entry->second.count, best.pair});
        continue;
      }
      merge(best.pair);
    }
    return std::move(result_);
  }

 private:
  using Pair = std::uint64_t;  // left id in the upper half
  static constexpr std::uint32_t kBreak = UINT32_MAX;

  struct Word {
    std::vector<std::uint32_t> symbols;
    std::uint64_t count;
  };
  struct Entry {
    std::uint64_t count = 0;
    std::vector<std::uint32_t> words;  // where it is or was
  };
  struct Candidate {
    std::uint64_t count;
    Pair pair;
    bool operator<(const Candidate& other) const {
      return count != other.count ? count < other.count : pair > other.pair;
    }
  };

  std::uint32_t id_of(const std::string& token) {
    const auto [found, is_new] =
        ids_.try_emplace(token, static_cast<std::uint32_t>(result_.tokens.size()));
    if (is_new) result_.tokens.push_back(token);
    return found->second;
  }

  void split(const std::vector<TrainingWord>& words) {
    for (const TrainingWord& word : words) {
      Word& split = words_.emplace_back();
      split.count = word.count;
      for (std::size_t at = 0; at < word.text.size();) {
        const std::size_t length = code_point_at(word.text, at).length;
        const auto id = ids_.find(word.text.substr(at, length));
        split.symbols.push_back(id == ids_.end() ? kBreak : id->second);
        at += length;
      }
    }
  }

  template <class Visit>
  void for_each_pair(const Word& word, const Visit& visit) {
    for (std::size_t i = 0; i + 1 < word.symbols.size(); ++i) {
      if (word.symbols[i] == kBreak || word.symbols[i + 1] == kBreak) continue;
      visit(Pair{word.symbols[i]} << 32 | word.symbols[i + 1]);
    }
  }

  void count_pairs(std::uint32_t index) {
    const Word& word = words_[index];
    for_each_pair(word, [&](Pair pair) {
      Entry& entry = pairs_[pair];
      entry.count += word.count;
      if (entry.words.empty() || entry.words.back() != index) entry.words.push_back(index);
    });
  }

  void merge(Pair pair) {
    const auto left = static_cast<std::uint32_t>(pair >> 32);
    const auto right = static_cast<std::uint32_t>(pair);
    const std::string merged = result_.tokens[left] + result_.tokens[right];
    Entry entry = std::move(pairs_[pair]);
    pairs_.erase(pair);
    if (reserved_.contains(merged)) return;
    result_.merges.emplace_back(result_.tokens[left], result_.tokens[right]);
    const std::uint32_t id = id_of(merged);
    changed_.clear();
    for (const std::uint32_t index : entry.words) merge_in(index, left, right, id);
    std::ranges::sort(changed_);
    changed_.erase(std::unique(changed_.begin(), changed_.end()), changed_.end());
    for (const Pair other : changed_) {
      const auto found = pairs_.find(other);
      if (found != pairs_.end()) queue_.push({found->second.count, other});
    }
  }

  void merge_in(std::uint32_t index, std::uint32_t left, std::uint32_t right, std::uint32_t id) {
    Word& word = words_[index];
    const Pair merged_pair = Pair{left} << 32 | right;
    before_.clear();
    for_each_pair(word, [&](Pair pair) { before_.push_back(pair); });
    std::size_t kept = 0;
    for (std::size_t i = 0; i < word.symbols.size(); ++i) {
      const bool here =
          word.symbols[i] == left && i + 1 < word.symbols.size() && word.symbols[i + 1] == right;
      word.symbols[kept++] = here ? id : word.symbols[i];
      i += here;
    }
    if (kept == word.symbols.size()) return;
    word.symbols.resize(kept);
    for (const Pair pair : before_) {
      const auto found = pairs_.find(pair);
      if (pair != merged_pair && found != pairs_.end()) found->second.count -= word.count;
    }
    // Each remaining pair again: those that did not change come out even.
    for_each_pair(word, [&](Pair pair) {
      Entry& entry = pairs_[pair];
      entry.count += word.count;
      const bool has_new = pair >> 32 == id || static_cast<std::uint32_t>(pair) == id;
      if (!has_new) return;
      if (entry.words.empty() || entry.words.back() != index) entry.words.push_back(index);
      changed_.push_back(pair);
    });
  }

  const BpeTrainerOptions& options_;
  std::unordered_set<std::string> reserved_;
  std::unordered_map<std::string, std::uint32_t> ids_;
  TrainedBpe result_;
  std::vector<Word> words_;
  std::unordered_map<Pair, Entry> pairs_;
  std::priority_queue<Candidate> queue_;
  std::vector<Pair> before_, changed_;  // scratch
};

}  // namespace

TrainedBpe train_bpe(const std::vector<TrainingWord>& words, const BpeTrainerOptions& options) {
  return BpeTrainer(options).run(words);
}

}  // namespace diffllama
