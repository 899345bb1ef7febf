#include <array>
#include <utility>

#include "base/json.h"
#include "base/regular_file.h"
#include "diffllama/error.h"
#include "tokenizer/bpe.h"
#include "tokenizer/json_members.h"
#include "tokenizer/load_tokenizer.h"
#include "tokenizer/tokenizer_impl.h"

namespace diffllama {
namespace {

using nlohmann::json;

/// Reads an object of numbers, or an array of strings and pairs of strings, as a stream.
class FlatReader {
 public:
  FlatReader(std::string where, std::string expected)
      : where_(std::move(where)), expected_(std::move(expected)) {}
  virtual ~FlatReader() = default;

  void read(std::string_view text) { json::sax_parse(text.begin(), text.end(), this); }

  // nlohmann's SAX interface; each reader takes the events that it expects.
  virtual bool null() { refuse("null"); }
  virtual bool boolean(bool /*value*/) { refuse("a boolean"); }
  virtual bool number_integer(json::number_integer_t value) { refuse(std::to_string(value)); }
  virtual bool number_unsigned(json::number_unsigned_t value) { refuse(std::to_string(value)); }
  virtual bool number_float(json::number_float_t /*value*/, const std::string& text) {
    refuse(text.substr(0, 60));
  }
  virtual bool string(std::string& value) { refuse(quote_token(value)); }
  virtual bool binary(json::binary_t& /*value*/) { refuse("binary data"); }
  virtual bool start_object(std::size_t /*size*/) { refuse("an object"); }
  virtual bool end_object() { return true; }
  virtual bool start_array(std::size_t /*size*/) { refuse("an array"); }
  virtual bool end_array() { return true; }
  virtual bool key(std::string& name) { refuse("the key " + quote_token(name)); }
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const json::exception& error) {
    throw FormatError(where_ + ": expected JSON, got an error at byte " + std::to_string(position) +
                      ": " + std::string(error.what()).substr(0, 200));
  }

 protected:
  [[noreturn]] void refuse(const std::string& found) const {
    throw FormatError(where_ + ": expected " + expected_ + ", got " + found);
  }

 private:
  std::string where_, expected_;
};

class VocabReader : public FlatReader {
 public:
  explicit VocabReader(Vocabulary& vocabulary)
      : FlatReader(vocabulary.where(), "an object of ids by token"), vocabulary_(vocabulary) {}
  bool start_object(std::size_t /*size*/) override {
    if (std::exchange(open_, true)) refuse("an object inside it");
    return true;
  }
  bool key(std::string& name) override {
    token_ = std::move(name);
    return true;
  }
  bool number_unsigned(json::number_unsigned_t value) override {
    if (!open_) refuse(std::to_string(value));
    vocabulary_.add(token_, value < std::uint64_t{kTokenIdLimit} ? static_cast<std::int64_t>(value)
                                                                 : kTokenIdLimit);
    return true;
  }

 private:
  Vocabulary& vocabulary_;
  std::string token_;
  bool open_ = false;
};

class MergesReader : public FlatReader {
 public:
  MergesReader(Bpe& model, const std::string& where)
      : FlatReader(where, R"(an array of merges, "a b" or ["a", "b"])"), model_(model) {}
  bool start_array(std::size_t /*size*/) override {
    if (++depth_ > 2) refuse("an array inside a merge");
    parts_ = 0;
    return true;
  }
  bool end_array() override {
    if (depth_-- == 2) {
      if (parts_ != 2) refuse("an array of " + std::to_string(parts_));
      model_.add_merge(left_, right_);
    }
    return true;
  }
  bool string(std::string& value) override {
    if (depth_ == 2) {
      if (++parts_ > 2) refuse("an array of more than 2");
      (parts_ == 1 ? left_ : right_) = std::move(value);
      return true;
    }
    if (depth_ == 0) refuse(quote_token(value));
    if (value.starts_with("#version")) return true;  // the first line of a merges.txt
    const std::size_t space = value.find(' ');
    if (space == std::string::npos || value.find(' ', space + 1) != std::string::npos) {
      refuse(quote_token(value));
    }
    const std::string_view both = value;
    model_.add_merge(both.substr(0, space), both.substr(space + 1));
    return true;
  }

 private:
  Bpe& model_;
  std::string left_, right_;
  int depth_ = 0;
  int parts_ = 0;
};

std::unique_ptr<const TokenizerModel> read_model(const JsonField& field,
                                                 const TokenizerJsonParts& parts) {
  const JsonField type = field.at("type");  // absent in old files
  if (type.as_string("BPE") != "BPE") type.refuse("the model BPE");
  if (!parts.vocab || !parts.merges) field.refuse("a vocab and merges");
  const JsonField dropout = field.at("dropout");
  if (!dropout.is_null() && dropout.value() != 0.0) {
    dropout.refuse("no dropout, which would make ids random");
  }
  BpeOptions options;
  if (const JsonField unk = field.at("unk_token"); !unk.is_null()) {
    options.unk_token = unk.as_string();
  }
  options.continuing_subword_prefix = field.at("continuing_subword_prefix").as_string("");
  options.end_of_word_suffix = field.at("end_of_word_suffix").as_string("");
  options.fuse_unk = field.at("fuse_unk").as_bool(false);
  options.byte_fallback = field.at("byte_fallback").as_bool(false);
  options.ignore_merges = field.at("ignore_merges").as_bool(false);

  Vocabulary vocabulary(field.where() + ".vocab");
  VocabReader(vocabulary).read(*parts.vocab);
  vocabulary.finish();
  auto model = std::make_unique<Bpe>(std::move(vocabulary), std::move(options));
  MergesReader(*model, field.where() + ".merges").read(*parts.merges);
  return model;
}

/// An added token from an object with its flags, whose defaults are Python's AddedToken's.
AddedToken read_added_token(const JsonField& field) {
  AddedToken token;
  token.content = field.at("content").as_string();
  token.single_word = field.at("single_word").as_bool(false);
  token.lstrip = field.at("lstrip").as_bool(false);
  token.rstrip = field.at("rstrip").as_bool(false);
  token.special = field.at("special").as_bool(false);
  token.normalized = field.at("normalized").as_bool(!token.special);
  return token;
}

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

/// Adds the tokens that tokenizer_config.json or special_tokens_map.json names, as transformers
/// does: each of them is special, and new ones are added.
void add_named_tokens(const JsonField& config, Tokenizer::Impl& parts) {
  static constexpr std::array<const char*, 7> kNames = {
      "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};
  for (const char* name : kNames) {
    const JsonField field = config.at(name);
    if (field.is_null()) continue;
    AddedToken token;
    if (field.value().is_object()) {
      token = read_added_token(field);
    } else {
      token.content = field.as_string();
    }
    const std::string content = token.content;
    if (content.empty()) continue;
    if (!parts.added_tokens.make_special(content)) {
      token.special = true;
      if (!field.value().is_object()) token.normalized = false;
      parts.added_tokens.add(std::move(token), parts.model->vocabulary(), field.where());
    }
    const auto id = parts.added_tokens.id_of(content);
    if (std::string_view(name) == "bos_token") parts.bos_token_id = id;
    if (std::string_view(name) == "eos_token") parts.eos_token_id = id;
    if (std::string_view(name) == "unk_token") parts.unk_token_id = id;
    if (std::string_view(name) == "pad_token") parts.pad_token_id = id;
  }
}

/// "added_tokens_decoder" of tokenizer_config.json: tokens by id. They are in tokenizer.json too,
/// unless that was edited by hand.
void add_decoder_tokens(const JsonField& map, Tokenizer::Impl& parts) {
  if (map.is_null()) return;
  if (!map.value().is_object()) map.refuse("an object of tokens by id");
  for (const auto& [id, unused] : map.value().items()) {
    static_cast<void>(unused);
    const JsonField field = map.at(id.c_str());
    AddedToken token = read_added_token(field);
    if (parts.added_tokens.find(token.content) != nullptr) continue;
    parts.added_tokens.add(std::move(token), parts.model->vocabulary(), field.where());
  }
}

}  // namespace

std::unique_ptr<Tokenizer::Impl> parse_tokenizer_parts(const TokenizerFiles& files,
                                                       const WarningHandler& warn) {
  const TokenizerJsonParts json_parts = split_tokenizer_json(files.tokenizer_json);
  const json document = parse_json(json_parts.rest, files.where);
  const JsonField root(document, files.where + ": ");
  const JsonField version = root.at("version");
  if (version.as_string("1.0") != "1.0") version.refuse("\"1.0\"");

  auto parts = std::make_unique<Tokenizer::Impl>(read_model(root.at("model"), json_parts));
  parts->normalizer = make_normalizer(root.at("normalizer"));
  parts->pre_tokenizer = make_pre_tokenizer(root.at("pre_tokenizer"));
  parts->decoder = make_decoder(root.at("decoder"));
  add_tokens(root.at("added_tokens"), *parts, warn);
  const auto directory = [&](const char* name) {
    return (std::filesystem::path(files.where).parent_path() / name).string();
  };
  if (!files.tokenizer_config.empty()) {
    const std::string where = directory("tokenizer_config.json");
    const json config = parse_json(files.tokenizer_config, where);
    const JsonField fields(config, where + ": ");
    add_decoder_tokens(fields.at("added_tokens_decoder"), *parts);
    add_named_tokens(fields, *parts);
  }
  if (!files.special_tokens_map.empty()) {
    const std::string where = directory("special_tokens_map.json");
    const json map = parse_json(files.special_tokens_map, where);
    add_named_tokens(JsonField(map, where + ": "), *parts);
  }
  parts->added_tokens.finish(parts->normalizer.get(), files.where + ": added_tokens");
  parts->post_processor = make_post_processor(root.at("post_processor"), parts->id_limit());
  return parts;
}

Tokenizer parse_tokenizer(const TokenizerFiles& files, const WarningHandler& warn) {
  return Tokenizer(parse_tokenizer_parts(files, warn));
}

Tokenizer load_tokenizer(const std::filesystem::path& path, const WarningHandler& warn) {
  std::error_code error;
  const bool is_directory = std::filesystem::is_directory(path, error);
  const std::filesystem::path file = is_directory ? path / "tokenizer.json" : path;
  if (!std::filesystem::exists(file, error) && !error) {
    throw IoError("expected a tokenizer.json, found no file " + file.string());
  }
  const std::filesystem::path directory = file.parent_path();
  const std::string tokenizer = read_file(file);
  const std::string config = read_file_if_there(directory / "tokenizer_config.json");
  const std::string map = read_file_if_there(directory / "special_tokens_map.json");
  return parse_tokenizer({file.string(), tokenizer, config, map}, warn);
}

}  // namespace diffllama
