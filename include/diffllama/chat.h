#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "diffllama/config.h"
#include "diffllama/tokenizer.h"

namespace [[gnu::visibility("default")]] diffllama {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant", "tool", or what else the template knows
  std::string content;
};

/// What a template made of a conversation.
struct RenderedChat {
  struct Part {
    std::size_t size = 0;  // bytes
    bool trusted = true;   // the template's own text; false: it came out of the conversation
  };
  struct Range {
    std::size_t begin = 0, end = 0;  // bytes of `text`
  };
  std::string text;
  std::vector<Part> parts;  // of `text`, one after the other
  /// What {% generation %} blocks of the template wrote: the assistant's turns.
  std::vector<Range> generated = {};
};

struct ChatTemplateOptions {
  std::filesystem::path file;  // a template in place of the model's; empty: none
  WarningHandler warn;         // absent: stderr
};

/// Turns a conversation into the text that a model was trained on, by the model's own chat template
/// in the language Jinja, with the settings and functions of transformers' apply_chat_template.
/// Immutable: one object serves any number of threads.
class ChatTemplate {
 public:
  /// The templates of a Hugging Face directory (chat_template.jinja and chat_templates/NAME.jinja,
  /// or chat_template of tokenizer_config.json, a text or a list of named ones) or of a .gguf file
  /// (tokenizer.chat_template, tokenizer.chat_template.NAME); nothing where there is none. The
  /// special tokens that the directory or file names become bos_token, eos_token and so on. Throws
  /// IoError, and FormatError for a template that is not one.
  static std::optional<ChatTemplate> from_pretrained(const std::filesystem::path& path,
                                                     const ChatTemplateOptions& options = {});
  /// Templates by name; the one called "default" is used, but "tool_use", where there is one, for a
  /// conversation with tools. `where` stands for them in messages. Throws FormatError with the
  /// line.
  explicit ChatTemplate(const std::map<std::string, std::string>& sources,
                        const std::map<std::string, std::string>& special_tokens = {},
                        const std::string& where = "chat template");

  /// A JSON object with "messages", a list of objects, and what else the template may read:
  /// "tools", "documents" and "add_generation_prompt", which are null, null and false where they
  /// are absent, and any other name. Throws FormatError, which starts with `where` for broken JSON
  /// and with the template's name and line for a template that fails, refuses the conversation, or
  /// takes more than 20 million steps or 512 MiB of strings.
  RenderedChat apply(std::string_view conversation,
                     const std::string& where = "conversation") const;
  /// The same of messages alone.
  RenderedChat apply(std::span<const ChatMessage> messages,
                     bool add_generation_prompt = true) const;

  struct Impl;

 private:
  std::shared_ptr<const Impl> impl_;
};

/// Token ids of a rendered chat. The template's own text makes special tokens; what came out of the
/// conversation is encoded as the text that it is, unless `allow_special_in_content`. Nothing is
/// added: a template writes its own bos_token.
std::vector<std::int64_t> encode_chat(const Tokenizer& tokenizer, const RenderedChat& chat,
                                      bool allow_special_in_content = false);

/// The tokens of a tokenizer that end a turn: eos_token, and those that are known by their text,
/// such as <|eot_id|>, <|im_end|> and <end_of_turn>.
std::vector<std::int64_t> end_of_turn_token_ids(const Tokenizer& tokenizer);

}  // namespace diffllama
