#include <span>
#include <utility>

#include "base/json.h"
#include "base/lfs_pointer.h"
#include "base/regular_file.h"
#include "diffllama/error.h"
#include "tokenizer/load_tokenizer.h"
#include "tokenizer/model_file.h"
#include "tokenizer/model_json.h"
#include "tokenizer/model_lists.h"
#include "tokenizer/named_tokens.h"
#include "tokenizer/tokenizer_impl.h"

namespace diffllama {
namespace {

using nlohmann::json;

void add_tokens(const JsonField& list, Tokenizer::Impl& parts, const WarningHandler& warn) {
  if (list.is_null()) return;
  for (std::size_t i = 0; i < list.array_size(); ++i) {
    const JsonField field = list.at(i);
    const std::int64_t stated = field.at("id").as_index(kTokenIdLimit);
    AddedToken token = read_added_token(field);
    const std::string content = token.content;
    const std::int32_t id =
        parts.added_tokens.add(std::move(token), parts.model->vocabulary(), field.where());
    // The tokenizers library numbers new tokens itself.
    if (id != stated && warn) {
      warn(field.where() + ": the token " + quote_token(content) + " has the id " +
           std::to_string(id) + ", not " + std::to_string(stated));
    }
  }
}

}  // namespace

std::unique_ptr<Tokenizer::Impl> parse_tokenizer_parts(const TokenizerFiles& files,
                                                       const WarningHandler& warn, json* rest) {
  const TokenizerFile* const counting = counting_file(files);
  if (counting == nullptr) {
    throw FormatError(files.where + ": expected a tokenizer, got an empty file");
  }
  if (counting->content != &TokenizerFiles::tokenizer_json) return parse_model_file(files);
  ModelLists lists(files.where);
  json document = parse_json(files.tokenizer_json, files.where, lists.readers());
  const JsonField root(document, files.where + ": ");
  const JsonField version = root.at("version");
  if (version.as_string("1.0") != "1.0") version.refuse("\"1.0\"");

  auto parts = std::make_unique<Tokenizer::Impl>(make_model(root.at("model"), lists));
  parts->normalizer = make_normalizer(root.at("normalizer"));
  parts->pre_tokenizer = make_pre_tokenizer(root.at("pre_tokenizer"));
  parts->decoder = make_decoder(root.at("decoder"));
  parts->truncation = read_truncation(root.at("truncation"));
  parts->padding = read_padding(root.at("padding"));
  add_tokens(root.at("added_tokens"), *parts, warn);
  add_named_tokens(files, /*keep_ids=*/false, *parts);
  parts->added_tokens.finish(parts->normalizer.get(), files.where + ": added_tokens");
  parts->post_processor = make_post_processor(root.at("post_processor"), parts->id_limit());
  if (rest != nullptr) *rest = std::move(document);
  return parts;
}

Tokenizer parse_tokenizer(const TokenizerFiles& files, const WarningHandler& warn) {
  return Tokenizer(parse_tokenizer_parts(files, warn));
}

std::filesystem::path find_tokenizer_file(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return path;
  for (const TokenizerFile& file : kTokenizerFiles) {
    if (file.is_vocabulary && std::filesystem::exists(path / file.name, error)) {
      return path / file.name;
    }
  }
  return path / "tokenizer.json";
}

Tokenizer load_tokenizer(const std::filesystem::path& path, const WarningHandler& warn) {
  std::error_code error;
  const std::filesystem::path file = find_tokenizer_file(path);
  if (!std::filesystem::exists(file, error) && !error) {
    throw IoError("expected a tokenizer.json or tokenizer.model, found no file " + file.string());
  }
  TokenizerFiles files;
  files.where = file.string();
  std::string& counting =
      file.extension() == ".model" ? files.tokenizer_model : files.tokenizer_json;
  counting = read_file(file);
  refuse_lfs_pointer(std::as_bytes(std::span(counting)), files.where);
  for (const TokenizerFile& other : kTokenizerFiles) {
    if (other.is_vocabulary) continue;
    files.*other.content = read_file_if_there(file.parent_path() / other.name);
  }
  return parse_tokenizer(files, warn);
}

}  // namespace diffllama
