#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "diffllama/chat.h"
#include "diffllama/tokenizer.h"

namespace diffllama {

/// A text's tokens, and which of them the loss counts.
struct MaskedText {
  std::vector<std::int64_t> ids;
  std::vector<std::int64_t> labels;  // the ids, or -100
};

/// A conversation, {"messages": [...]} and what else the template reads, as the model's template
/// writes it. Labels are what the assistant writes: of each of its turns what follows the prompt
/// for it (add_generation_prompt), up to the template's token that ends the turn. Throws
/// FormatError "WHERE: ..." for what is no conversation, one without a turn of the assistant, and
/// where the template writes what came before a turn otherwise once the turn is there.
MaskedText encode_conversation(const Tokenizer& tokenizer, const ChatTemplate& chat_template,
                               const nlohmann::json& conversation, const std::string& where);

/// A prompt and its completion, one text; the labels are the completion's tokens, and EOS, which
/// follows it where the tokenizer knows one. Throws FormatError "WHERE: ...".
MaskedText encode_completion(const Tokenizer& tokenizer, const std::string& prompt,
                             const std::string& completion, const std::string& where);

}  // namespace diffllama
