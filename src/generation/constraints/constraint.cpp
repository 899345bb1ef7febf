#include "diffllama/constraint.h"

#include <utility>

#include "diffllama/tokenizer.h"
#include "generation/constraints/compiled_constraint.h"

namespace diffllama {
namespace {

TokenBytes token_bytes(const Tokenizer& tokenizer) {
  TokenBytes bytes;
  const std::int64_t size = tokenizer.vocab_size();
  bool differ = false;
  for (std::int64_t id = 0; id < size; ++id) {
    bytes.tokens.push_back(tokenizer.token_bytes(id));
    bytes.first_tokens.push_back(tokenizer.token_bytes(id, true));
    differ = differ || bytes.tokens.back() != bytes.first_tokens.back();
  }
  if (!differ) bytes.first_tokens.clear();
  return bytes;
}

}  // namespace

std::shared_ptr<const Constraint> Constraint::from_json_schema(std::string_view schema,
                                                               const Tokenizer& tokenizer,
                                                               const ConstraintLimits& limits) {
  return compile_json_schema(schema, token_bytes(tokenizer), limits);
}
std::shared_ptr<const Constraint> Constraint::from_regex(std::string_view regex,
                                                         const Tokenizer& tokenizer,
                                                         const ConstraintLimits& limits) {
  return compile_regex(regex, token_bytes(tokenizer), limits);
}
std::shared_ptr<const Constraint> Constraint::from_grammar(std::string_view grammar,
                                                           const Tokenizer& tokenizer,
                                                           const ConstraintLimits& limits) {
  return compile_grammar(grammar, token_bytes(tokenizer), limits);
}

}  // namespace diffllama
