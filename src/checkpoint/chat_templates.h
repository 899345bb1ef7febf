#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "checkpoint/gguf/gguf.h"
#include "checkpoint/gguf/gguf_writer.h"

namespace diffllama {

/// The texts of a model's chat templates by their names; one without a name is "default".
using ChatTemplates = std::map<std::string, std::string>;

/// Of a Hugging Face directory: chat_template.jinja and the files of chat_templates/ and
/// additional_chat_templates/, where transformers writes them and which counts where both have a
/// name, or where there are none what `tokenizer_config`, the text of tokenizer_config.json, holds.
/// Throws IoError, FormatError.
ChatTemplates directory_chat_templates(const std::filesystem::path& directory,
                                       const std::string& tokenizer_config);

/// chat_template in the text of a tokenizer_config.json: a text, or a list of {"name", "template"}.
/// Throws FormatError that starts with `where`.
ChatTemplates config_chat_templates(const std::string& tokenizer_config, const std::string& where);

/// Of a GGUF file: tokenizer.chat_template and tokenizer.chat_template.NAME. Throws FormatError.
ChatTemplates gguf_chat_templates(const GgufFile& file);

/// The same keys, and the names in tokenizer.chat_templates, as gguf-py writes them.
void write_gguf_chat_templates(const ChatTemplates& templates, GgufWriter& out);

}  // namespace diffllama
