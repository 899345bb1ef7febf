#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace diffllama {

/// A part of a text: one that a pattern matched, or what lies between two matches.
struct Match {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool matched = false;
};

/// What Split and Replace look for: {"String": "..."} or {"Regex": "..."} of tokenizer.json.
class Pattern {
 public:
  /// Throws FormatError that starts with `where`.
  static Pattern from_json(const nlohmann::json& value, const std::string& where);
  static Pattern regex(std::string_view oniguruma, const std::string& where);

  ~Pattern();
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;

  /// Finds matches in any number of texts; one for each thread.
  class Matcher {
   public:
    explicit Matcher(const Pattern& pattern);
    ~Matcher();
    Matcher(const Matcher&) = delete;
    Matcher& operator=(const Matcher&) = delete;
    Matcher(Matcher&&) = delete;
    Matcher& operator=(Matcher&&) = delete;
    /// Sets `matches` to the parts of `text` (UTF-8), which cover it in order; a match may be
    /// empty. Throws FormatError when a regular expression backtracks past a limit that grows with
    /// the text.
    void find(std::string_view text, std::vector<Match>& matches);

   private:
    struct State;
    const Pattern& pattern_;
    std::unique_ptr<State> state_;
  };

 private:
  struct Regex;
  Pattern();
  std::string text_;  // the literal, or the regular expression's source
  std::unique_ptr<const Regex> regex_;
  std::string where_;
};

}  // namespace diffllama
