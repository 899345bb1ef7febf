#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace [[gnu::visibility("default")]] diffllama {

class Tokenizer;

/// What compiling and following a constraint may take.
struct ConstraintLimits {
  std::size_t steps = 4'000'000;                // of compiling: parts that are made and looked at
  std::size_t memory = std::size_t{256} << 20;  // bytes of states and masks while following it
};

/// What a generated text may be (GenerationConfig::constraint): at each token a mask over the
/// vocabulary leaves those with which the text can still become one that the constraint describes,
/// byte by byte; tokens that end a sequence are left only where the text is whole. Compiled once
/// for a tokenizer, shared by any number of sequences and threads.
///
/// Each function throws InvalidArgument for what it cannot read or do, with the place in it, and
/// for what takes more than `limits` allow.
class Constraint {
 public:
  /// JSON that the schema (draft 2020-12) accepts; docs/generation.md has the keywords. What is not
  /// supported is refused by its path. The text is compact, with at most one space after : and ,
  /// and properties come in the schema's order.
  static std::shared_ptr<const Constraint> from_json_schema(std::string_view schema,
                                                            const Tokenizer& tokenizer,
                                                            const ConstraintLimits& limits = {});
  /// Texts that the regular expression (ECMA-262) matches as a whole.
  static std::shared_ptr<const Constraint> from_regex(std::string_view regex,
                                                      const Tokenizer& tokenizer,
                                                      const ConstraintLimits& limits = {});
  /// Texts of the rule `root` of a grammar in llama.cpp's GBNF.
  static std::shared_ptr<const Constraint> from_grammar(std::string_view grammar,
                                                        const Tokenizer& tokenizer,
                                                        const ConstraintLimits& limits = {});
  ~Constraint();
  Constraint(const Constraint&) = delete;
  Constraint& operator=(const Constraint&) = delete;

  /// What may follow some tokens.
  struct Next {
    /// A bit for each id of the tokenizer, the first in the lowest bit; tokens without text
    /// (special ones) have none.
    std::vector<std::uint64_t> allowed;
    bool complete = false;  // the text so far is whole: it may end here
  };
  /// After `ids`, the new tokens alone. Nothing is allowed after tokens that break the constraint.
  /// Throws Error past the memory limit.
  Next next(std::span<const std::int64_t> ids) const;
  /// Whether `text` is whole under the constraint.
  bool accepts(std::string_view text) const;

  struct Impl;
  [[gnu::visibility("hidden")]] explicit Constraint(std::unique_ptr<Impl> impl);
  const Impl& impl() const { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace diffllama
