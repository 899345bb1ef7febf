#include "fuzz/fuzz_targets.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "chat/jinja/conversation_values.h"
#include "chat/jinja/interpreter.h"
#include "checkpoint/adapter/adapter_head.h"
#include "checkpoint/adapter/lora_adapter.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/conversion/gguf_to_directory.h"
#include "checkpoint/gguf/gguf.h"
#include "checkpoint/gguf/gguf_tokenizer.h"
#include "checkpoint/packed_file.h"
#include "checkpoint/safetensors/safetensors.h"
#include "checkpoint/tensor_files.h"
#include "config/generation_config.h"
#include "config/model_config.h"
#include "diffllama/chat.h"
#include "diffllama/error.h"
#include "fuzz/inputs.h"
#include "generation/constraints/compiled_constraint.h"
#include "model/forward_batch.h"
#include "model/heads/losses.h"
#include "model/heads/targets.h"
#include "tokenizer/load_tokenizer.h"
#include "tokenizer/model_file.h"
#include "tokenizer/tokenizer_impl.h"
#include "training/data/csv.h"
#include "training/data/labelled_texts.h"
#include "training/data/masked_text.h"
#include "training/data/squad.h"
#include "training/data/tagged_sentences.h"
#include "training/data/token_shard.h"
#include "training/recipe.h"
#include "training/trainer_state.h"

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

/// Holds of whatever was accepted.
void expect(bool holds) {
  if (!holds) std::abort();
}

/// The shape of tests/golden/forward's causal models.
ModelConfig small_model(Architecture architecture) {
  ModelConfig config;
  config.architecture = architecture;
  config.vocab_size = 56;
  config.hidden_size = 32;
  config.intermediate_size = 28;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 8;
  config.max_position_embeddings = 64;
  return config;
}

constexpr std::string_view kSmallTokenizer = R"({
  "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "<s>": 3}, "merges": ["a b"]},
  "added_tokens": [{"id": 3, "content": "<s>", "special": true, "single_word": false,
                    "lstrip": false, "rstrip": false, "normalized": false}],
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                    "use_regex": true},
  "decoder": {"type": "ByteLevel"}})";

/// What the losses read of the inputs.
void use_labels(const ModelConfig& config, const ForwardInputs& inputs, const ForwardBatch& batch) {
  if (config.architecture == Architecture::question_answering) {
    if (!has_spans(inputs)) return;
    span_labels("start_positions", *inputs.start_positions, batch.example_ends);
    span_labels("end_positions", *inputs.end_positions, batch.example_ends);
    return;
  }
  if (config.architecture == Architecture::sequence_classification) {
    pooled_rows(config, inputs, batch.batch, batch.example_ends);
  }
  if (!inputs.labels) return;
  if (config.architecture != Architecture::sequence_classification) {
    for (const std::int64_t label : next_token_labels(*inputs.labels, batch.batch, batch.tokens)) {
      check_label("labels", label, config.vocab_size, 0);
    }
  } else if (problem_type_of(config, config.num_labels(), *inputs.labels) ==
             ProblemType::single_label_classification) {
    class_labels(*inputs.labels, batch.batch);
  } else {
    class_targets(*inputs.labels, batch.batch, config.num_labels());
  }
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
    const GenerationConfig config =
        parse_generation_config(as_text(bytes), "generation_config.json", ignore_warning);
    // What is written is what was read.
    parse_generation_config(write_generation_config(config), "generation_config.json",
                            ignore_warning);
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
  files.tokenizer_model = as_text(bytes);
  attempt([&] { use(Tokenizer(parse_model_file(files))); });
}

void packed_copy(Bytes bytes) {
  const PackedFileSpec spec = {{"a float32 32 x 1", 100}, {"b float32 32 x 2", 256}};
  attempt([&] { check_packed_file(bytes, spec, "fuzz.packed-float32", Parallel(1)); });
}

void tokenizer_config(Bytes bytes) {
  // The files, zero bytes between.
  std::string_view rest = as_text(bytes);
  TokenizerFiles files;
  files.where = "tokenizer.json";
  files.tokenizer_json = kSmallTokenizer;
  for (std::string* file :
       {&files.tokenizer_config, &files.special_tokens_map, &files.added_tokens}) {
    const std::size_t zero = std::min(rest.find('\0'), rest.size());
    *file = rest.substr(0, zero);
    rest.remove_prefix(std::min(zero + 1, rest.size()));
  }
  attempt([&] { use(parse_tokenizer(files, ignore_warning)); });
}

void adapter_config(Bytes bytes) {
  attempt([&] {
    const LoraConfig config =
        parse_lora_config(as_text(bytes), "adapter_config.json", ignore_warning);
    lora_layout(config, small_model(Architecture::sequence_classification));
    // What is written is what was read.
    parse_lora_config(write_lora_config(config, Architecture::causal_lm), "adapter_config.json",
                      ignore_warning);
  });
}

void lora_tensors(Bytes bytes) {
  static const AdapterFolder folder;
  const InputFile file(bytes);
  folder.link_weights(file.path());
  const ModelConfig base = small_model(Architecture::causal_lm);
  attempt([&] {
    const ModelConfig config = config_with_adapter(folder.path(), base, ignore_warning);
    const auto adapter = LoraAdapter::open(folder.path(), config, ignore_warning);
    for (const auto& [module, matrices] : adapter->modules()) {
      std::vector<float> row(static_cast<std::size_t>(matrices.in));
      matrices.add_row(matrices.out - 1, row);
    }
  });
}

void forward_inputs(Bytes bytes) {
  constexpr std::array kArchitectures = {
      Architecture::causal_lm, Architecture::sequence_classification,
      Architecture::token_classification, Architecture::question_answering};
  attempt([&] {
    std::map<std::string, Tensor> tensors;
    for (const auto& [name, view] : parse_safetensors(bytes, "inputs.safetensors").tensors) {
      tensors[name] = Tensor::from(view);
    }
    const ForwardInputs inputs = ForwardInputs::from_tensors(std::move(tensors), "inputs");
    for (const Architecture architecture : kArchitectures) {
      const ModelConfig config = small_model(architecture);
      attempt([&] {
        const ForwardBatch batch = read_batch(config, inputs, nullptr);
        std::int64_t first = 0;
        for (const std::int64_t end : batch.segment_ends) {
          make_step(config, inputs, batch, first, end);
          first = end;
        }
        use_labels(config, inputs, batch);
      });
    }
  });
}

void gguf_convert(Bytes bytes) {
  static const ScratchFolder folder;
  const InputFile file(bytes);
  attempt([&] {
    write_gguf_as_directory(file.path(), folder.path() / "converted",
                            {.warn = ignore_warning, .progress = {}});
    Checkpoint::open(folder.path() / "converted", ignore_warning);
  });
  std::filesystem::remove_all(folder.path() / "converted");
}

void recipe(Bytes bytes) {
  const std::string_view text = as_text(bytes);
  attempt([&] {
    const Recipe read = parse_recipe(text, "recipe.json");
    const std::string written = write_recipe(read);
    expect(write_recipe(parse_recipe(written, "recipe.json")) == written);
    validate(read, "recipe.json");
  });
  // As on a command line.
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos) return;
  attempt([&] {
    Recipe changed;
    set_recipe_field(changed, std::string(text.substr(0, equals)),
                     std::string(text.substr(equals + 1)));
    validate(changed, "recipe.json");
  });
}

void trainer_state(Bytes bytes) {
  attempt([&] { parse_trainer_state(as_text(bytes), "trainer_state.json"); });
  attempt([&] {
    const std::string forged = with_checksum(as_text(bytes));
    const StoredTrainerState stored = parse_trainer_state(forged, "trainer_state.json");
    write_trainer_state(stored.state, stored.files);
    parse_recipe(stored.state.recipe, "the checkpoint's recipe");
  });
}

void token_shard(Bytes bytes) {
  std::string text(as_text(bytes));
  forge_shard_checksums(text);
  const InputFile file(std::as_bytes(std::span(text)));
  attempt([&] {
    const TokenShard shard(file.path());
    shard.verify();
    const std::uint64_t tokens = shard.header().tokens;
    std::vector<std::int64_t> last(std::min<std::uint64_t>(tokens, 1000));
    shard.copy_tokens(tokens - last.size(), last);
    for (const std::int64_t token : last) {
      expect(static_cast<std::uint64_t>(token) < shard.header().vocab_size);
    }
  });
}

void squad(Bytes bytes) {
  const InputFile file(bytes);
  attempt([&] {
    BadRows bad_rows(2);
    for (const SquadQuestion& question : read_squad(file.path(), {}, bad_rows)) {
      for (const SquadAnswer& answer : question.answers) {
        expect(answer.begin < answer.end && answer.end <= question.context->size());
      }
    }
  });
}

void conllu(Bytes bytes) {
  const InputFile file(bytes);
  for (const ConlluColumn column : {ConlluColumn::upos, ConlluColumn::xpos}) {
    attempt([&] {
      BadRows bad_rows(2);
      collect_tags({file.path()}, {.column = column}, bad_rows);
    });
  }
}

void conll(Bytes bytes) {
  const InputFile file(bytes);
  attempt([&] {
    BadRows bad_rows(2);
    collect_tags({file.path()}, {.kind = TagFormat::Kind::conll}, bad_rows);
  });
}

void csv(Bytes bytes) {
  const InputFile file(bytes);
  for (const char separator : {',', '\t'}) {
    attempt([&] {
      CsvReader reader(file.path(), separator);
      BadRows bad_rows(2);
      std::vector<std::string> fields;
      while (bad_rows.next_good([&] { return reader.next(fields); })) {
        expect(fields.size() == reader.columns().size());
      }
    });
  }
}

// Of characters, whatever they are.
const Tokenizer& small_tokenizer() {
  static const Tokenizer tokenizer = parse_tokenizer(
      {"tokenizer.json",
       R"({"version": "1.0", "model": {"type": "WordLevel", "vocab": {"?": 0, "a": 1},
           "unk_token": "?"}, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "."},
           "behavior": "Isolated", "invert": false}})",
       "", ""},
      ignore_warning);
  return tokenizer;
}

void conversation(Bytes bytes) {
  static const ChatTemplate chat_template(std::map<std::string, std::string>{
      {"default",
       "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>\n{% endfor %}"
       "{% if add_generation_prompt %}<assistant>{% endif %}"}});
  attempt([&] {
    const nlohmann::json row = parse_json(as_text(bytes), "conversation");
    if (!row.is_object()) return;
    const MaskedText text =
        encode_conversation(small_tokenizer(), chat_template, row, "conversation");
    expect(text.ids.size() == text.labels.size());
  });
}

void labelled_texts(Bytes bytes) {
  const InputFile file(bytes);
  attempt([&] {
    BadRows bad_rows(2);
    const LabelSummary summary = collect_labels({file.path()}, {}, {}, bad_rows);
    const LabelParser parser(summary.names, summary.problem_type);
    LabelledTextReader reader({file.path()});
    for (LabelledText text; reader.next(text);) {
      attempt([&] { parser.parse(text); });
    }
  });
}

/// Compiles a constraint over single bytes within tight limits, and follows it for a while.
template <class Compile>
void follow(const Compile& compile) {
  attempt([&] {
    TokenBytes bytes;
    for (int byte = 0; byte < 256; ++byte) bytes.tokens.emplace_back(1, static_cast<char>(byte));
    bytes.tokens.emplace_back("{\"a");
    const auto constraint =
        compile(std::move(bytes), ConstraintLimits{.steps = 20000, .memory = std::size_t{1} << 22});
    std::vector<std::int64_t> ids;
    for (int i = 0; i < 16; ++i) {
      const Constraint::Next next = constraint->next(ids);
      std::int64_t id = 0;
      while (id < 257 && (next.allowed[static_cast<std::size_t>(id) / 64] >> (id % 64) & 1) == 0) {
        ++id;
      }
      if (id == 257) break;
      ids.push_back(id);
    }
    constraint->accepts("{\"a\": [1, true]}");
  });
}

void json_schema(Bytes bytes) {
  follow([&](TokenBytes tokens, const ConstraintLimits& limits) {
    return compile_json_schema(as_text(bytes), std::move(tokens), limits);
  });
}

void regex(Bytes bytes) {
  follow([&](TokenBytes tokens, const ConstraintLimits& limits) {
    return compile_regex(as_text(bytes), std::move(tokens), limits);
  });
}

void gbnf(Bytes bytes) {
  follow([&](TokenBytes tokens, const ConstraintLimits& limits) {
    return compile_grammar(as_text(bytes), std::move(tokens), limits);
  });
}

// A template, a zero byte, and the conversation that it is given.
void chat_template(Bytes bytes) {
  const std::string_view text = as_text(bytes);
  const std::size_t end = std::min(text.find('\0'), text.size());
  const std::string_view conversation = text.substr(std::min(end + 1, text.size()));
  attempt([&] {
    jinja::Variables variables;
    attempt([&] {
      const jinja::Value given = jinja::parse_json_value(conversation, "conversation");
      if (given.dict() == nullptr) return;
      for (const auto& [name, value] : given.dict()->entries) {
        variables.emplace_back(name.text()->bytes(), value);
      }
    });
    const jinja::Body body = jinja::parse_template(text.substr(0, end), "template");
    jinja::Limits limits;
    limits.steps = 100'000;
    limits.bytes = std::uint64_t{16} << 20;
    jinja::render(body, variables, limits, "template");
  });
}

constexpr Target kTargets[] = {{"gguf", gguf},
                               {"safetensors", safetensors},
                               {"shard_index", shard_index},
                               {"model_config", model_config},
                               {"generation_config", generation_config},
                               {"tokenizer", tokenizer},
                               {"tokenizer_model", tokenizer_model},
                               {"packed_copy", packed_copy},
                               {"tokenizer_config", tokenizer_config},
                               {"adapter_config", adapter_config},
                               {"lora_tensors", lora_tensors},
                               {"forward_inputs", forward_inputs},
                               {"gguf_convert", gguf_convert},
                               {"recipe", recipe},
                               {"trainer_state", trainer_state},
                               {"token_shard", token_shard},
                               {"squad", squad},
                               {"conllu", conllu},
                               {"conll", conll},
                               {"csv", csv},
                               {"conversation", conversation},
                               {"labelled_texts", labelled_texts},
                               {"json_schema", json_schema},
                               {"regex", regex},
                               {"gbnf", gbnf},
                               {"chat_template", chat_template}};

}  // namespace

std::span<const Target> targets() { return kTargets; }

}  // namespace diffllama::fuzz
