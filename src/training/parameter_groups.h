#pragma once

#include <set>
#include <string>
#include <vector>

namespace diffllama {

/// The names among `names` that `patterns` choose. A pattern is a group or a glob (fnmatch: *, ?,
/// [...]) over whole names. Groups: "lambda" (lambda_*, dex_lambda), "dex" (dex_*), "attention"
/// (self_attn.*), "mlp" (mlp.*), "norms" (RMSNorms, those of heads too), "embeddings"
/// (embed_tokens), "head" (lm_head, score, qa_outputs). Throws ConfigError "recipe: FIELD: expected
/// ..." for a pattern that chooses none.
std::set<std::string> chosen_parameters(const std::vector<std::string>& names,
                                        const std::vector<std::string>& patterns,
                                        const std::string& field);

/// The names that a recipe trains: those that `train_only` chooses, or all, without those that
/// `freeze` chooses. Throws ConfigError as above, and where none is left.
std::set<std::string> trained_parameters(const std::vector<std::string>& names,
                                         const std::vector<std::string>& train_only,
                                         const std::vector<std::string>& freeze);

}  // namespace diffllama
