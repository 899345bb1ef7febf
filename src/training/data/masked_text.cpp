#include "training/data/masked_text.h"

#include <algorithm>
#include <cstddef>
#include <string_view>

#include "base/json.h"
#include "diffllama/error.h"
#include "model/heads/losses.h"

namespace diffllama {
namespace {

using nlohmann::json;

/// Of a rendered conversation, what the assistant writes.
using Turn = RenderedChat::Range;

// Errors begin with the conversation's place.
RenderedChat apply(const ChatTemplate& chat_template, const json& conversation,
                   const std::string& where) {
  try {
    return chat_template.apply(conversation.dump(), where);
  } catch (const FormatError& error) {
    const std::string what = error.what();
    if (what.starts_with(where)) throw;
    throw FormatError(where + ": " + what);
  }
}

void check_messages(const json& messages, const std::string& where) {
  if (!messages.is_array()) {
    throw FormatError(where + ": messages: expected a list, got " + json_excerpt(messages));
  }
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::string place = where + ": messages[" + std::to_string(i) + "]";
    if (!messages[i].is_object()) {
      throw FormatError(place + ": expected an object, got " + json_excerpt(messages[i]));
    }
    const json role = messages[i].value("role", json());
    if (!role.is_string()) {
      throw FormatError(place + ".role: expected a string, got " + json_excerpt(role));
    }
    // A list holds parts; a message that calls tools may have none.
    const json content = messages[i].value("content", json());
    if (!content.is_string() && !content.is_array() && !content.is_null()) {
      throw FormatError(place + ".content: expected a string, got " + json_excerpt(content));
    }
  }
}

std::string rendered(const ChatTemplate& chat_template, json conversation, std::size_t messages,
                     bool prompt, const std::string& where) {
  json& list = conversation["messages"];
  list.erase(list.begin() + static_cast<std::ptrdiff_t>(messages), list.end());
  conversation["add_generation_prompt"] = prompt;
  return apply(chat_template, conversation, where).text;
}

// Blanks that a template writes behind the token that ends a turn belong to what comes next. Where
// the content itself is all that the turn has, they end it.
std::size_t turn_end(std::string_view text, std::size_t begin, std::size_t end,
                     std::string_view content) {
  const std::size_t last = text.substr(0, end).find_last_not_of(" \t\r\n");
  const std::size_t trimmed = last == std::string_view::npos ? begin : std::max(begin, last + 1);
  const std::size_t content_last = content.find_last_not_of(" \t\r\n");
  const std::string_view bare =
      content.substr(0, content_last == std::string_view::npos ? 0 : content_last + 1);
  const bool content_ends_it = text.substr(begin, trimmed - begin).ends_with(bare);
  return content_ends_it ? end : trimmed;
}

// What the template's {% generation %} blocks wrote; of a template without, what it adds for each
// message of the assistant to its prompt for one.
std::vector<Turn> assistant_turns(const ChatTemplate& chat_template, const json& conversation,
                                  const RenderedChat& chat, const std::string& where) {
  if (!chat.generated.empty()) return chat.generated;
  const std::string& text = chat.text;
  std::vector<Turn> turns;
  const json& messages = conversation["messages"];
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].value("role", json()) != "assistant") continue;
    const std::string before = rendered(chat_template, conversation, i, true, where);
    const std::string after = rendered(chat_template, conversation, i + 1, false, where);
    if (!after.starts_with(before) || !text.starts_with(after)) {
      throw FormatError(where + ": messages[" + std::to_string(i) +
                        "]: expected a template that writes what came before a turn the same "
                        "whatever follows, got another text");
    }
    const json content = messages[i].value("content", json());
    turns.push_back({.begin = before.size(),
                     .end = turn_end(text, before.size(), after.size(),
                                     content.is_string() ? content.get<std::string>() : "")});
  }
  if (turns.empty()) {
    throw FormatError(where + ": messages: expected a turn of the assistant, got none");
  }
  return turns;
}

Encoding encode_rendered(const Tokenizer& tokenizer, const RenderedChat& chat) {
  std::vector<TextPart> parts;
  std::size_t at = 0;
  for (const RenderedChat::Part& part : chat.parts) {
    parts.push_back(
        {.text = std::string_view(chat.text).substr(at, part.size), .trusted = part.trusted});
    at += part.size;
  }
  return tokenizer.encode(parts, /*add_special_tokens=*/false);
}

}  // namespace

MaskedText encode_conversation(const Tokenizer& tokenizer, const ChatTemplate& chat_template,
                               const json& conversation, const std::string& where) {
  check_messages(conversation.value("messages", json()), where);
  const RenderedChat chat = apply(chat_template, conversation, where);
  const std::vector<Turn> turns = assistant_turns(chat_template, conversation, chat, where);
  const Encoding encoding = encode_rendered(tokenizer, chat);
  MaskedText result = {.ids = encoding.ids, .labels = {}};
  auto turn = turns.begin();
  for (std::size_t t = 0; t < encoding.ids.size(); ++t) {
    const std::size_t begin = encoding.offsets[t].begin;
    while (turn != turns.end() && turn->end <= begin) ++turn;
    // A token that begins before the turn and reaches into it is the turn's, too.
    const bool counts = turn != turns.end() && encoding.offsets[t].end > turn->begin;
    result.labels.push_back(counts ? encoding.ids[t] : kIgnoreLabel);
  }
  return result;
}

MaskedText encode_completion(const Tokenizer& tokenizer, const std::string& prompt,
                             const std::string& completion, const std::string& where) {
  if (completion.empty()) throw FormatError(where + ": completion: expected a text, got none");
  const Encoding encoding = tokenizer.encode(prompt + completion);
  MaskedText result;
  for (std::size_t t = 0; t < encoding.ids.size(); ++t) {
    const bool counts =
        encoding.special_tokens_mask[t] == 0 && encoding.offsets[t].end > prompt.size();
    result.ids.push_back(encoding.ids[t]);
    result.labels.push_back(counts ? encoding.ids[t] : kIgnoreLabel);
  }
  const auto eos = tokenizer.eos_token_id();
  if (eos && result.ids.back() == *eos) {
    result.labels.back() = *eos;
  } else if (eos) {
    result.ids.push_back(*eos);
    result.labels.push_back(*eos);
  }
  return result;
}

}  // namespace diffllama
