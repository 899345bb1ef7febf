#include "tokenizer/unigram_trainer.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/utf8.h"
#include "tokenizer/trie.h"

namespace diffllama {
namespace {

constexpr std::size_t kMaxPieceCharacters = 16;
constexpr std::size_t kSeedsPerPiece = 10;  // of the final vocabulary
constexpr double kShrinking = 0.75;         // what a round of pruning keeps
constexpr int kRoundsOfMaximisation = 2;    // between two of pruning
constexpr double kLeastExpectation = 0.5;   // of pieces that are not of the alphabet
constexpr double kNever = -1e9;             // a log-probability

double add_logarithms(double a, double b) {
  if (a < b) std::swap(a, b);
  return b <= kNever ? a : a + std::log1p(std::exp(b - a));
}

// d/dx log gamma(x), by its asymptotic series from 7 on.
double digamma(double x) {
  double result = 0;
  while (x < 7) {
    result -= 1 / x;
    x += 1;
  }
  x -= 0.5;
  const double xx = 1 / x / x;
  const double x4 = xx * xx;
  return result + std::log(x) + xx / 24 - 7.0 / 960 * x4 + 31.0 / 8064 * x4 * xx -
         127.0 / 30720 * x4 * x4;
}

/// The pieces with a trie, and the sums over all ways to cut a word into them.
class Model {
 public:
  explicit Model(const std::vector<UnigramPiece>& pieces)
      : pieces_(pieces), trie_(entries(pieces)) {}

  // Adds to `expected`, by piece, how often it stands in the cuts of a word that comes `count`
  // times.
  void expect(std::string_view word, double count, std::vector<double>& expected) {
    const std::size_t size = word.size();
    forward_.assign(size + 1, kNever);
    backward_.assign(size + 1, kNever);
    forward_[0] = 0;
    backward_[size] = 0;
    edges_.clear();
    for (std::size_t begin = 0; begin < size; ++begin) {
      if (forward_[begin] <= kNever) continue;
      for_each_piece(word, begin, [&](std::size_t end, std::size_t piece) {
        edges_.push_back({begin, end, piece});
        forward_[end] = add_logarithms(forward_[end], forward_[begin] + pieces_[piece].score);
      });
    }
    if (forward_[size] <= kNever) return;
    for (std::size_t i = edges_.size(); i-- > 0;) {
      const Edge& edge = edges_[i];
      backward_[edge.begin] =
          add_logarithms(backward_[edge.begin], backward_[edge.end] + pieces_[edge.piece].score);
    }
    for (const Edge& edge : edges_) {
      const double logarithm =
          forward_[edge.begin] + pieces_[edge.piece].score + backward_[edge.end] - forward_[size];
      expected[edge.piece] += count * std::exp(logarithm);
    }
  }

  // The most probable cut of `word`, without the piece `excluded` where that is possible.
  std::vector<std::size_t> best_cut(std::string_view word, std::size_t excluded) {
    const std::size_t size = word.size();
    forward_.assign(size + 1, kNever);
    forward_[0] = 0;
    best_.assign(size + 1, {0, 0, 0});
    for (std::size_t begin = 0; begin < size; ++begin) {
      if (forward_[begin] <= kNever) continue;
      for_each_piece(word, begin, [&](std::size_t end, std::size_t piece) {
        const double score = forward_[begin] + pieces_[piece].score;
        if (piece == excluded || !(score > forward_[end])) return;
        forward_[end] = score;
        best_[end] = {begin, end, piece};
      });
    }
    std::vector<std::size_t> cut;
    if (forward_[size] <= kNever) return cut;
    for (std::size_t end = size; end > 0; end = best_[end].begin) cut.push_back(best_[end].piece);
    return cut;
  }
  static constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

 private:
  struct Edge {
    std::size_t begin, end, piece;
  };
  static std::vector<std::pair<std::string_view, std::int32_t>> entries(
      const std::vector<UnigramPiece>& pieces) {
    std::vector<std::pair<std::string_view, std::int32_t>> all;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      all.emplace_back(pieces[i].text, static_cast<std::int32_t>(i));
    }
    return all;
  }
  template <class Visit>
  void for_each_piece(std::string_view word, std::size_t begin, const Visit& visit) const {
    std::uint32_t node = Trie::kRoot;
    for (std::size_t end = begin; end < word.size();) {
      node = trie_.next(node, word[end++]);
      if (node == Trie::kNoNode) return;
      const std::int32_t piece = trie_.value(node);
      if (piece != Trie::kNoValue) visit(end, static_cast<std::size_t>(piece));
    }
  }

  const std::vector<UnigramPiece>& pieces_;
  Trie trie_;
  std::vector<double> forward_, backward_;
  std::vector<Edge> edges_, best_;
};

class UnigramTrainer {
 public:
  UnigramTrainer(const std::vector<TrainingWord>& words, const UnigramTrainerOptions& options)
      : options_(options), alphabet_(options.alphabet.begin(), options.alphabet.end()) {
    for (const TrainingWord& word : words) add_parts(word);
  }

  std::vector<UnigramPiece> run() {
    seed();
    // A little more than wanted: the last cut goes by probability.
    const std::size_t wanted = std::max(options_.vocab_size, alphabet_.size());
    const std::size_t enough = wanted + wanted / 10;
    for (;;) {
      for (int round = 0; round < kRoundsOfMaximisation; ++round) maximise();
      if (pieces_.size() <= enough) break;
      prune(enough);
    }
    return finish(wanted);
  }

 private:
  // What lies between characters that are not of the alphabet.
  void add_parts(const TrainingWord& word) {
    std::string part;
    const auto flush = [&] {
      if (!part.empty()) words_.push_back({part, word.count});
      part.clear();
    };
    for (std::size_t at = 0; at < word.text.size();) {
      const std::string character = word.text.substr(at, code_point_at(word.text, at).length);
      at += character.size();
      if (alphabet_.contains(character)) {
        part += character;
      } else {
        flush();
      }
    }
    flush();
  }

  // The parts of words that come more than once, by frequency times length.
  void seed() {
    std::unordered_map<std::string_view, std::uint64_t> counts;
    for (const TrainingWord& word : words_) {
      const std::string_view text = word.text;
      for (std::size_t begin = 0; begin < text.size();) {
        std::size_t end = begin;
        for (std::size_t n = 0; n < kMaxPieceCharacters && end < text.size(); ++n) {
          end += code_point_at(text, end).length;
          counts[text.substr(begin, end - begin)] += word.count;
        }
        begin += code_point_at(text, begin).length;
      }
    }
    struct Seed {
      std::string_view text;
      std::uint64_t count, weight;
    };
    const std::unordered_set<std::string_view> reserved(options_.reserved.begin(),
                                                        options_.reserved.end());
    std::vector<Seed> seeds;
    for (const auto& [text, count] : counts) {
      const std::size_t length = count_code_points(text);
      if (length > 1 && count > 1 && !reserved.contains(text)) {
        seeds.push_back({text, count, count * length});
      }
    }
    std::ranges::sort(seeds, [](const Seed& a, const Seed& b) {
      return a.weight != b.weight ? a.weight > b.weight : a.text < b.text;
    });
    seeds.resize(std::min(seeds.size(), kSeedsPerPiece * options_.vocab_size));
    double total = 0;
    for (const std::string& character : options_.alphabet) {
      const auto found = counts.find(character);
      const double count = found == counts.end() ? 1 : static_cast<double>(found->second);
      pieces_.push_back({character, count});
      total += count;
    }
    for (const Seed& seed : seeds) {
      pieces_.push_back({std::string(seed.text), static_cast<double>(seed.weight)});
      total += static_cast<double>(seed.weight);
    }
    for (UnigramPiece& piece : pieces_) piece.score = std::log(piece.score / total);
  }

  std::vector<double> expectations(Model& model) const {
    std::vector<double> expected(pieces_.size());
    for (const TrainingWord& word : words_) {
      model.expect(word.text, static_cast<double>(word.count), expected);
    }
    return expected;
  }

  // One round of expectation maximisation, with the prior that makes rare pieces rarer.
  void maximise() {
    Model model(pieces_);
    const std::vector<double> expected = expectations(model);
    std::vector<UnigramPiece> kept;
    double total = 0;
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      const bool needed = alphabet_.contains(pieces_[i].text);
      if (!needed && expected[i] < kLeastExpectation) continue;
      const double count = std::max(expected[i], kLeastExpectation);
      total += count;
      kept.push_back({std::move(pieces_[i].text), count});
    }
    const double logarithm = digamma(total);
    for (UnigramPiece& piece : kept) piece.score = digamma(piece.score) - logarithm;
    pieces_ = std::move(kept);
  }

  // Leaves out the pieces without which the texts lose the least probability.
  void prune(std::size_t enough) {
    Model model(pieces_);
    std::vector<double> counts(pieces_.size());
    double total = 0;
    for (const TrainingWord& word : words_) {
      for (const std::size_t piece : model.best_cut(word.text, Model::kNone)) {
        counts[piece] += static_cast<double>(word.count);
        total += static_cast<double>(word.count);
      }
    }
    struct Loss {
      double loss;
      std::size_t piece;
    };
    std::vector<Loss> losses;
    std::vector<bool> keep(pieces_.size());
    std::size_t kept = 0;
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      if (alphabet_.contains(pieces_[i].text)) {
        keep[i] = true;
        ++kept;
        continue;
      }
      const std::vector<std::size_t> parts = model.best_cut(pieces_[i].text, i);
      losses.push_back({loss_without(i, parts, counts, total), i});
    }
    const auto target = std::max(
        enough, static_cast<std::size_t>(kShrinking * static_cast<double>(pieces_.size())));
    std::ranges::sort(losses, [](const Loss& a, const Loss& b) {
      return a.loss != b.loss ? a.loss > b.loss : a.piece < b.piece;
    });
    for (const Loss& loss : losses) {
      if (kept >= target) break;
      keep[loss.piece] = true;
      ++kept;
    }
    std::vector<UnigramPiece> left;
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      if (keep[i]) left.push_back(std::move(pieces_[i]));
    }
    pieces_ = std::move(left);
  }

  // What the texts' log-likelihood loses when a piece's uses go to `parts`.
  static double loss_without(std::size_t piece, const std::vector<std::size_t>& parts,
                             const std::vector<double>& counts, double total) {
    if (counts[piece] == 0) return -1;  // its parts are better anyway
    const double count = counts[piece];
    const double new_total = std::log(total + count * (static_cast<double>(parts.size()) - 1));
    double score_of_parts = 0;
    for (const std::size_t part : parts)
      score_of_parts += std::log(counts[part] + count) - new_total;
    return count / total * (std::log(count) - std::log(total) - score_of_parts);
  }

  std::vector<UnigramPiece> finish(std::size_t wanted) {
    std::ranges::stable_sort(pieces_, [](const UnigramPiece& a, const UnigramPiece& b) {
      return a.score != b.score ? a.score > b.score : a.text < b.text;
    });
    std::size_t others = wanted - alphabet_.size();
    std::vector<UnigramPiece> chosen;
    for (UnigramPiece& piece : pieces_) {
      const bool needed = alphabet_.contains(piece.text);
      if (!needed && others == 0) continue;
      if (!needed) --others;
      chosen.push_back(std::move(piece));
    }
    return chosen;
  }

  const UnigramTrainerOptions& options_;
  std::unordered_set<std::string> alphabet_;
  std::vector<TrainingWord> words_;
  std::vector<UnigramPiece> pieces_;
};

}  // namespace

std::vector<UnigramPiece> train_unigram(const std::vector<TrainingWord>& words,
                                        const UnigramTrainerOptions& options) {
  return UnigramTrainer(words, options).run();
}

}  // namespace diffllama
