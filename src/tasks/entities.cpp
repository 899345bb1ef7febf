#include "tasks/entities.h"

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <utility>

namespace diffllama {
namespace {

struct Tag {
  bool begins = false;
  std::string_view group;
};

// "B-PER" begins a group, "I-PER" and labels of other forms go on with one.
Tag tag_of(std::string_view label) {
  if (label.starts_with("B-")) return {true, label.substr(2)};
  if (label.starts_with("I-")) return {false, label.substr(2)};
  return {false, label};
}

// What the pipeline calls a group: all behind the first dash.
std::string group_name(const std::string& label) {
  const std::size_t dash = label.find('-');
  return dash == std::string::npos ? label : label.substr(dash + 1);
}

class EntityMaker {
 public:
  EntityMaker(const TokenScores& scores, Aggregation aggregation)
      : scores_(scores), aggregation_(aggregation) {}

  std::vector<Entity> of_tokens(std::span<const TextToken> tokens) const {
    std::vector<Entity> entities;
    for (const TextToken& token : tokens) {
      Entity entity = labelled(row(token));
      entity.index = token.index;
      entity.word = token.word;
      entity.start = token.start;
      entity.end = token.end;
      entities.push_back(std::move(entity));
    }
    return entities;
  }

  std::vector<Entity> of_words(std::span<const TextToken> tokens) const {
    std::vector<Entity> entities;
    for (std::size_t first = 0; first < tokens.size();) {
      std::size_t end = first + 1;
      while (end < tokens.size() && tokens[end].continues) ++end;
      entities.push_back(of_word(tokens.subspan(first, end - first)));
      first = end;
    }
    return entities;
  }

  // Neighbours with the same group, which a "B-" cuts, become one.
  std::vector<Entity> grouped(std::span<const Entity> entities) const {
    std::vector<Entity> groups;
    for (std::size_t first = 0; first < entities.size();) {
      std::size_t end = first + 1;
      while (end < entities.size() && goes_on(entities[end - 1], entities[end])) ++end;
      groups.push_back(group(entities.subspan(first, end - first)));
      first = end;
    }
    return groups;
  }

 private:
  std::span<const float> row(const TextToken& token) const {
    const std::size_t classes = scores_.labels.size();
    return scores_.scores.subspan(static_cast<std::size_t>(token.index) * classes, classes);
  }
  Entity labelled(std::span<const float> row) const {
    const auto best = std::ranges::max_element(row);
    Entity entity;
    entity.entity = scores_.labels[static_cast<std::size_t>(best - row.begin())];
    entity.score = *best;
    return entity;
  }

  // The scores that a word's tokens agree on.
  std::vector<float> word_scores(std::span<const TextToken> tokens) const {
    std::vector<float> scores(row(tokens[0]).begin(), row(tokens[0]).end());
    if (aggregation_ == Aggregation::max) {
      for (const TextToken& token : tokens) {
        const auto other = row(token);
        if (std::ranges::max(other) > std::ranges::max(scores)) {
          scores.assign(other.begin(), other.end());
        }
      }
    } else if (aggregation_ == Aggregation::average) {
      for (std::size_t c = 0; c < scores.size(); ++c) {
        float sum = 0;
        for (const TextToken& token : tokens) sum += row(token)[c];
        scores[c] = sum / static_cast<float>(tokens.size());
      }
    }
    return scores;
  }

  Entity of_word(std::span<const TextToken> tokens) const {
    Entity entity = labelled(word_scores(tokens));
    std::vector<std::string> words;
    for (const TextToken& token : tokens) words.push_back(token.word);
    entity.word = scores_.tokenizer.convert_tokens_to_string(words);
    entity.start = tokens.front().start;
    entity.end = tokens.back().end;
    return entity;
  }

  static bool goes_on(const Entity& before, const Entity& entity) {
    const Tag tag = tag_of(entity.entity);
    return !tag.begins && tag.group == tag_of(before.entity).group;
  }

  Entity group(std::span<const Entity> entities) const {
    Entity result;
    result.entity = group_name(entities[0].entity);
    std::vector<std::string> words;
    float sum = 0;
    for (const Entity& entity : entities) {
      words.push_back(entity.word);
      sum += entity.score;
    }
    result.score = sum / static_cast<float>(entities.size());
    result.word = scores_.tokenizer.convert_tokens_to_string(words);
    result.start = entities.front().start;
    result.end = entities.back().end;
    return result;
  }

  const TokenScores& scores_;
  Aggregation aggregation_;
};

}  // namespace

std::vector<Entity> entities_of(const TokenScores& scores, const TaggedText& text,
                                const TagOptions& options) {
  const Aggregation aggregation = options.aggregation;
  const EntityMaker maker(scores, aggregation);
  const bool by_token = aggregation == Aggregation::none || aggregation == Aggregation::simple;
  std::vector<Entity> entities =
      by_token ? maker.of_tokens(text.tokens) : maker.of_words(text.tokens);
  if (aggregation != Aggregation::none) entities = maker.grouped(entities);
  std::erase_if(entities, [&](const Entity& entity) {
    return std::ranges::find(options.ignore_labels, entity.entity) != options.ignore_labels.end();
  });
  return entities;
}

}  // namespace diffllama
