#include "checkpoint/gguf/gguf_model.h"

#include <algorithm>
#include <cassert>
#include <map>
#include <optional>
#include <utility>

#include "base/base64.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "checkpoint/codec/row_codec.h"
#include "checkpoint/conversion/merged_model.h"
#include "checkpoint/directory_texts.h"
#include "checkpoint/fitting_tensor.h"
#include "checkpoint/gguf/gguf_config.h"
#include "checkpoint/gguf/gguf_tokenizer.h"
#include "config/json_fields.h"
#include "config/names.h"
#include "config/warnings.h"
#include "diffllama/error.h"
#include "tokenizer/load_tokenizer.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kQuantizationVersion = 2;  // of the block formats, as ggml counts them

// Row of transformers that lies at `row` of a file whose rotary pairs are side by side: rows 2i and
// 2i + 1 of a head come from i and i + d/2.
std::int64_t source_row(std::int64_t row, std::int64_t rows, std::int64_t heads) {
  const std::int64_t d = rows / heads;
  const std::int64_t in_head = row % d;
  return row - in_head + in_head / 2 + (in_head % 2 == 0 ? 0 : d / 2);
}

std::string general_name(const DirectoryTexts& texts) {
  const fs::path path = texts.directory;
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

// The tokens behind which the directory's texts end: generation_config.json's, else config.json's.
std::vector<std::int64_t> end_tokens(const DirectoryTexts& texts, const ModelConfig& config) {
  std::vector<std::int64_t> ids;
  if (!texts.generation_config.empty()) {
    const std::string where = texts.directory + "/generation_config.json";
    const nlohmann::json document = parse_json(texts.generation_config, where);
    if (document.is_object()) JsonFields(document, where).read_integers("eos_token_id", ids);
  }
  return ids.empty() ? config.eos_token_ids : ids;
}

// EOS is the tokenizer's, or the first that ends a text; the others are EOT and EOM.
void add_special_ids(const DirectoryTexts& texts, const ModelConfig& config,
                     GgufVocabulary& vocabulary) {
  if (!vocabulary.bos_token_id) vocabulary.bos_token_id = config.bos_token_id;
  if (!vocabulary.padding_token_id) vocabulary.padding_token_id = config.pad_token_id;
  for (auto* id :
       {&vocabulary.bos_token_id, &vocabulary.eos_token_id, &vocabulary.padding_token_id}) {
    if (*id && (**id < 0 || **id >= config.vocab_size)) id->reset();  // only warned of elsewhere
  }
  const std::vector<std::int64_t> ends = end_tokens(texts, config);
  const bool own =
      vocabulary.eos_token_id && std::ranges::find(ends, *vocabulary.eos_token_id) == ends.end();
  if (own && ends.size() >= 3) vocabulary.eos_token_id.reset();  // there are three places
  for (const std::int64_t id : ends) {
    if (id < 0 || id >= config.vocab_size) continue;
    for (auto* place :
         {&vocabulary.eos_token_id, &vocabulary.eot_token_id, &vocabulary.eom_token_id}) {
      if (!*place) *place = id;
      if (*place == id) break;
    }
  }
}

// The tokenizer of a directory; kNoVocabulary where there is none, or GGUF has no keys for its
// kind.
GgufVocabulary read_vocabulary(const DirectoryTexts& texts, std::int64_t size,
                               const WarningHandler& warn) {
  GgufVocabulary none;
  none.model = kNoVocabulary;
  if (counting_file(texts.tokenizer) == nullptr) {
    emit_warning(warn, texts.directory +
                           ": no tokenizer.json or tokenizer.model; the file gets no tokenizer");
    return none;
  }
  try {
    GgufVocabulary vocabulary = to_gguf_vocabulary(texts.tokenizer, size, warn);
    if (vocabulary.model == kNoVocabulary) {
      emit_warning(warn, texts.tokenizer.where +
                             ": GGUF has no keys for this kind of tokenizer; the file holds the "
                             "tokenizer itself, which other programs may not find");
    }
    return vocabulary;
  } catch (const FormatError& error) {
    emit_warning(warn, std::string(error.what()) + "; the file gets no vocabulary");
    return none;
  }
}

void write_vocabulary(const GgufVocabulary& vocabulary, GgufWriter& out) {
  if (vocabulary.model != kNoVocabulary) return write_gguf_vocabulary(vocabulary, out);
  out.set("tokenizer.ggml.model", kNoVocabulary);
  write_gguf_special_ids(vocabulary, out);
}

// What makes the way back exact.
void add_verbatim(const DirectoryTexts& texts, GgufWriter& out) {
  const auto set = [&](const char* key, const std::string& text) {
    if (!text.empty()) out.set(key, text);
  };
  write_gguf_tokenizer_files(texts.tokenizer, out);
  write_gguf_chat_templates(texts.chat_templates, out);
  set(kConfigKey, texts.config);
  set(kGenerationConfigKey, texts.generation_config);
}

void add_source_types(const std::vector<GgufTensor>& tensors, GgufWriter& out) {
  std::map<DType, std::vector<std::string>> names;
  for (const GgufTensor& tensor : tensors) names[tensor.stored.view.dtype].push_back(tensor.name);
  for (const auto& [dtype, list] : names) {
    out.set(kSourceTypePrefix + std::string(dtype_name(dtype)), list);
  }
}

void check_class(const ModelConfig& config, const std::string& where) {
  if (config.architecture == Architecture::causal_lm) return;
  throw FormatError(where + ": expected a " +
                    architecture_name(config.model_type, Architecture::causal_lm) +
                    ", the one class that GGUF holds, got " +
                    architecture_name(config.model_type, config.architecture));
}

// The mean of a matrix's rows, each value summed in float64.
std::shared_ptr<const std::vector<float>> mean_row(const GgufTensor& tensor) {
  const std::int64_t rows = tensor.stored.view.shape[0];
  const auto columns = static_cast<std::size_t>(tensor.stored.view.shape[1]);
  std::vector<double> sums(columns);
  std::vector<float> row(columns);
  for (std::int64_t i = 0; i < rows; ++i) {
    tensor.read_row(i, row);
    for (std::size_t k = 0; k < columns; ++k) sums[k] += row[k];
  }
  for (std::size_t k = 0; k < columns; ++k) {
    row[k] = static_cast<float>(sums[k] / static_cast<double>(rows));
  }
  return std::make_shared<const std::vector<float>>(std::move(row));
}

// Gives the matrices with a row for each token as many rows as there are tokens.
void pad_rows(std::int64_t rows, GgufModel& model) {
  for (GgufTensor& tensor : model.tensors) {
    if (tensor.name != "token_embd.weight" && tensor.name != "output.weight") continue;
    tensor.padding = mean_row(tensor);
    tensor.padding_rows = rows - tensor.stored.view.shape[0];
  }
}

std::string with_vocab_size(const std::string& text, const std::string& where, std::int64_t size) {
  nlohmann::json config = parse_json(text, where);
  config["vocab_size"] = size;
  return config.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

GgufModel of_directory(const fs::path& path, const WarningHandler& warn,
                       const GgufModelOptions& options) {
  const MergedModel merged = merge_model(Checkpoint::open(path, warn), options.adapter, warn);
  const auto& checkpoint = merged.checkpoint;
  check_class(checkpoint->config(), path.string());
  const std::string config_where = (path / "config.json").string();
  GgufModel model;
  model.where = path.string();
  model.config = checkpoint->config();
  model.files.push_back(checkpoint);
  DirectoryTexts texts = read_directory_texts(path);
  texts.config = merged.config_text(texts.config, config_where);
  for (const TensorSpec& spec : tensor_specs(model.config)) {
    const StoredTensor* stored = checkpoint->find(spec.name);
    if (stored == nullptr) continue;
    const bool interleave = model.config.model_type == ModelType::llama;
    model.tensors.push_back({spec.gguf_name, *stored, interleave ? spec.rotary_heads : 0});
  }
  GgufVocabulary vocabulary = read_vocabulary(texts, model.config.vocab_size, warn);
  const auto tokens = static_cast<std::int64_t>(vocabulary.tokens.size());
  if (tokens > model.config.vocab_size) {
    if (!options.pad_vocab) {
      throw FormatError(texts.tokenizer.where + ": expected at most vocab_size tokens, " +
                        std::to_string(model.config.vocab_size) + ", got " +
                        std::to_string(tokens) +
                        " (with --pad-vocab the embeddings get a row for each)");
    }
    pad_rows(tokens, model);
    model.config.vocab_size = tokens;
    texts.config = with_vocab_size(texts.config, config_where, tokens);
  }
  model.rotary = write_gguf_config(model.config, config_where, model.metadata);
  model.metadata.set("general.type", "model");
  model.metadata.set("general.name", general_name(texts));
  model.metadata.set("general.file_type", plain_file_type(model.tensors.front().stored.view.dtype));
  model.metadata.set("general.quantization_version", kQuantizationVersion);
  add_special_ids(texts, model.config, vocabulary);
  write_vocabulary(vocabulary, model.metadata);
  add_verbatim(texts, model.metadata);
  add_source_types(model.tensors, model.metadata);
  return model;
}

// The parameters of a merged model in place of those in its file.
void put_parameters(const MergedModel& merged, GgufModel& model) {
  std::map<std::string, GgufTensor> tensors;
  for (GgufTensor& tensor : model.tensors) tensors[tensor.name] = std::move(tensor);
  for (const TensorSpec& spec : tensor_specs(model.config)) {
    const StoredTensor* stored = merged.checkpoint->find(spec.name);
    if (stored == nullptr) continue;
    const bool interleave = model.config.model_type == ModelType::llama;
    tensors[spec.gguf_name] = {spec.gguf_name, *stored, interleave ? spec.rotary_heads : 0};
  }
  model.tensors.clear();
  for (auto& [name, tensor] : tensors) model.tensors.push_back(std::move(tensor));
}

GgufModel of_file(const fs::path& path, const WarningHandler& warn,
                  const GgufModelOptions& options) {
  const fs::path& adapter = options.adapter;
  const GgufFile file(path);
  const MergedModel merged = merge_model(Checkpoint::from_gguf(file, warn), adapter, warn);
  check_class(merged.checkpoint->config(), path.string());
  GgufModel model;
  model.where = path.string();
  model.config = merged.checkpoint->config();
  model.files.push_back(file.mapping());
  model.files.push_back(merged.checkpoint);
  for (const auto& [key, value] : file.metadata()) {
    if (!key.starts_with("split.")) model.metadata.set(key, value);
  }
  for (const auto& [name, view] : file.tensors()) {
    model.tensors.push_back({name, {view, file.tensor_where(name)}});
  }
  if (adapter.empty()) return model;
  put_parameters(merged, model);
  if (const auto text = file.text(kConfigKey)) {
    model.metadata.set(kConfigKey,
                       merged.config_text(std::string(*text), file.where() + ": " + kConfigKey));
  }
  return model;
}

}  // namespace

Shape GgufTensor::shape() const {
  Shape shape = stored.view.shape;
  shape[0] += padding_rows;
  return shape;
}

void GgufTensor::read_row(std::int64_t row, std::span<float> out) const {
  if (padding_rows != 0 && row >= stored.view.shape[0]) {
    std::ranges::copy(*padding, out.begin());
    return;
  }
  if (rotary_heads == 0) return stored.read_row(row, out);
  if (stored.view.shape.size() > 1) {
    return stored.read_row(source_row(row, stored.view.shape[0], rotary_heads), out);
  }
  std::vector<float> values(out.size());  // the bias of a matrix that is permuted
  stored.read_row(row, values);
  const auto size = static_cast<std::int64_t>(out.size());
  for (std::int64_t i = 0; i < size; ++i) {
    out[static_cast<std::size_t>(i)] =
        values[static_cast<std::size_t>(source_row(i, size, rotary_heads))];
  }
}

std::span<const std::byte> GgufTensor::row_bytes(std::int64_t row) const {
  if (rotary_heads != 0) row = source_row(row, stored.view.shape[0], rotary_heads);
  return stored.row_bytes(row);
}

GgufModel open_gguf_model(const fs::path& path, const WarningHandler& warn,
                          const GgufModelOptions& options) {
  std::error_code error;
  return fs::is_directory(path, error) ? of_directory(path, warn, options)
                                       : of_file(path, warn, options);
}

namespace {

void write_padding(const GgufTensor& tensor, const TensorSource::Sink& sink) {
  if (tensor.padding_rows == 0) return;
  const TensorView& view = tensor.stored.view;
  std::vector<std::byte> row(view.bytes.size() / static_cast<std::size_t>(view.shape[0]));
  encode_row(view.dtype, *tensor.padding, row);
  for (std::int64_t i = 0; i < tensor.padding_rows; ++i) sink(row);
}

}  // namespace

TensorSource unchanged_tensor(const GgufTensor& tensor, DType expanded) {
  const TensorView& view = tensor.stored.view;
  const bool vector = view.shape.size() == 1;
  if (vector || tensor.stored.add_row) {
    const DType plain = block_elements(view.dtype) == 1 ? view.dtype : expanded;
    return fitting_tensor(
        tensor.name, vector ? DType::float32 : plain, tensor.shape(), tensor.stored.where,
        [tensor](std::int64_t row, std::span<float> out) { tensor.read_row(row, out); });
  }
  const auto write = [tensor](const TensorSource::Sink& sink) {
    if (tensor.rotary_heads == 0) {
      sink(tensor.stored.view.bytes);
    } else {
      for (std::int64_t row = 0; row < tensor.stored.view.shape[0]; ++row) {
        sink(tensor.row_bytes(row));
      }
    }
    write_padding(tensor, sink);
    Checkpoint::release(tensor.stored);
  };
  return {tensor.name, view.dtype, tensor.shape(), write};
}

std::uint32_t plain_file_type(DType dtype) {
  switch (dtype) {
    case DType::float16:
      return 1;
    case DType::bfloat16:
      return 32;
    default:
      return 0;
  }
}

}  // namespace diffllama
