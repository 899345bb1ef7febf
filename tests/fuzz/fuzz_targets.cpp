#include "fuzz/fuzz_targets.h"

#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf/gguf.h"
#include "checkpoint/gguf/gguf_tokenizer.h"
#include "checkpoint/packed_file.h"
#include "checkpoint/safetensors/safetensors.h"
#include "checkpoint/tensor_files.h"
#include "config/generation_config.h"
#include "config/model_config.h"
#include "diffllama/error.h"
#include "tokenizer/load_tokenizer.h"
#include "tokenizer/model_file.h"
#include "tokenizer/tokenizer_impl.h"

namespace diffllama::fuzz {
namespace {

using Bytes = std::span<const std::byte>;

void ignore_warning(const std::string& /*text*/) {}

std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Its refusal is what is wanted of most inputs.
template <class Call>
void attempt(const Call& call) {
  try {
    call();
  } catch (const Error&) {  // NOLINT(bugprone-empty-catch)
  }
}

/// Some text through a tokenizer and back, with all that its rules may fall over.
void use(const Tokenizer& tokenizer) {
  attempt([&] {
    const Encoding encoding =
        tokenizer.encode("Hello, w\xc3\xb6rld!  <s> 123\xff\xf0\x9f\x98\x80\r\n\tthe end's");
    tokenizer.decode(encoding.ids);
    tokenizer.decode(encoding.ids, true);
  });
}

void gguf(Bytes bytes) {
  attempt([&] {
    const GgufFile file(bytes, "fuzz.gguf");
    attempt([&] {
      const Checkpoint checkpoint = Checkpoint::from_gguf(file, ignore_warning);
      for (const TensorSpec& spec : tensor_specs(checkpoint.config())) {
        const StoredTensor* tensor = checkpoint.find(spec.name);
        if (tensor == nullptr || tensor->view.shape.empty()) continue;
        std::vector<float> row(static_cast<std::size_t>(tensor->view.shape.back()));
        if (!row.empty()) tensor->read_row(0, row);
      }
    });
    attempt([&] { use(read_gguf_tokenizer(file, ignore_warning)); });
  });
}

void safetensors(Bytes bytes) {
  attempt([&] { parse_safetensors(bytes, "fuzz.safetensors"); });
}

void shard_index(Bytes bytes) {
  attempt([&] { parse_shard_index(as_text(bytes), "model.safetensors.index.json"); });
}

void model_config(Bytes bytes) {
  attempt([&] {
    const ModelConfig config = parse_model_config(as_text(bytes), "config.json", ignore_warning);
    tensor_specs(config);
    // What is written is what was read.
    parse_model_config(write_model_config(config), "config.json", ignore_warning);
  });
}

void generation_config(Bytes bytes) {
  attempt([&] {
    find_problem(parse_generation_config(as_text(bytes), "generation_config.json", ignore_warning));
  });
}

void tokenizer(Bytes bytes) {
  TokenizerFiles files;
  files.where = "tokenizer.json";
  files.tokenizer_json = as_text(bytes);
  attempt([&] { use(parse_tokenizer(files, ignore_warning)); });
}

void tokenizer_model(Bytes bytes) {
  TokenizerFiles files;
  files.where = "tokenizer.model";
  attempt([&] { use(Tokenizer(parse_model_file(as_text(bytes), files))); });
}

void packed_copy(Bytes bytes) {
  const PackedFileSpec spec = {{"a float32 32 x 1", 100}, {"b float32 32 x 2", 256}};
  attempt([&] { check_packed_file(bytes, spec, "fuzz.packed-float32", Parallel(1)); });
}

constexpr Target kTargets[] = {{"gguf", gguf},
                               {"safetensors", safetensors},
                               {"shard_index", shard_index},
                               {"model_config", model_config},
                               {"generation_config", generation_config},
                               {"tokenizer", tokenizer},
                               {"tokenizer_model", tokenizer_model},
                               {"packed_copy", packed_copy}};

}  // namespace

std::span<const Target> targets() { return kTargets; }

}  // namespace diffllama::fuzz
