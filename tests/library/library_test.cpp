// The public headers as their users have them: this binary links the shared library and includes
// nothing else of the project.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "diffllama/bench.h"
#include "diffllama/chat.h"
#include "diffllama/checkpoint.h"
#include "diffllama/documents.h"
#include "diffllama/error.h"
#include "diffllama/files.h"
#include "diffllama/generation.h"
#include "diffllama/model.h"
#include "diffllama/model_info.h"
#include "diffllama/perplexity.h"
#include "diffllama/safetensors.h"
#include "diffllama/tokenizer.h"
#include "diffllama/training.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;
using testing::ThrowsMessage;

const fs::path kSource = DIFFLLAMA_SOURCE_DIR;
const fs::path kTiny = kSource / "models/diffllama-tiny";
const fs::path kCausal = kSource / "tests/golden/forward/diffllama_causal";
const WarningHandler kSilent = [](const std::string&) {};

LoadOptions float32() {
  LoadOptions options;
  options.compute = ComputeType::float32;
  options.threads = 2;
  options.warn = kSilent;
  return options;
}

class Library : public testing::Test {
 public:
  ~Library() override { fs::remove_all(folder_); }

 protected:
  Library() {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }

  fs::path write(const char* name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }

  const fs::path folder_ =
      fs::path(testing::TempDir()) / ("diffllama_library_" + std::to_string(::getpid()));
};

TEST_F(Library, SafetensorsComeBackInBorrowedMemory) {
  const Tensor ids = Tensor::from(std::vector<std::int64_t>{1, 2, 3}, {1, 3});
  const Tensor values = Tensor::from(std::vector<float>{0.5F, -1}, {2});
  const fs::path path = folder_ / "t.safetensors";
  save_safetensors(path, {{"input_ids", ids.view()}, {"values", values.view()}});

  std::map<std::string, Tensor> tensors = load_safetensors(path);
  fs::remove(path);  // the mapping lives on
  ASSERT_EQ(tensors.size(), 2U);
  const Tensor& loaded = tensors.at("values");
  EXPECT_TRUE(loaded.borrowed());
  EXPECT_THAT(loaded.f32(), ElementsAre(0.5F, -1));
  const Tensor kept = std::move(tensors.at("input_ids"));
  tensors.clear();
  EXPECT_THAT(kept.i64(), ElementsAre(1, 2, 3));
  EXPECT_EQ(kept.shape(), (Shape{1, 3}));
}

// Others write headers of any length, and types that this library does not have.
TEST_F(Library, SafetensorsOfOthers) {
  const auto file = [&](const std::string& header, const std::string& data) {
    std::string text(8, '\0');
    text[0] = static_cast<char>(header.size());
    return write("others.safetensors", text.append(header).append(data));
  };
  const std::string entry = R"("shape":[1],"data_offsets":[0,4]}})";
  for (int blanks = 0; blanks < 4; ++blanks) {
    const auto path = file(std::string(R"({"x":{"dtype":"F32",)")
                               .append(entry)
                               .append(static_cast<std::size_t>(blanks), ' '),
                           std::string("\0\0\x80\x3f", 4));
    const std::map<std::string, Tensor> tensors = load_safetensors(path);
    EXPECT_THAT(tensors.at("x").f32(), ElementsAre(1.0F));
  }
  const auto path = file(std::string(R"({"x":{"dtype":"U32",)").append(entry), "abcd");
  EXPECT_THAT(
      [&] { load_safetensors(path); },
      ThrowsMessage<FormatError>(HasSubstr("x: expected a dtype that is read here, got U32")));
}

// As trainers leave "checkpoint-500" in a folder of their own.
TEST_F(Library, AModelInASubFolderOpensByItsParent) {
  const fs::path copy = folder_ / "checkpoint-500";
  fs::create_directories(copy);
  for (const auto& file : fs::directory_iterator(kTiny)) {
    if (file.path().filename() != "tokenizer_config.json") {
      fs::create_symlink(file.path(), copy / file.path().filename());
    }
  }
  write("checkpoint-500/tokenizer_config.json",
        R"({"bos_token": "<s>", "chat_template": "{{ bos_token }}"})");
  EXPECT_EQ(Model::from_pretrained(folder_, float32()).config().vocab_size,
            Model::from_pretrained(kTiny, float32()).config().vocab_size);
  EXPECT_EQ(Tokenizer::from_pretrained(folder_, kSilent).encode("My lord").ids,
            Tokenizer::from_pretrained(kTiny, kSilent).encode("My lord").ids);
  EXPECT_TRUE(ChatTemplate::from_pretrained(folder_).has_value());
  EXPECT_EQ(GenerationConfig::from_pretrained(folder_, kSilent).eos_token_ids,
            GenerationConfig::from_pretrained(kTiny, kSilent).eos_token_ids);
  EXPECT_EQ(model_info(folder_, CacheType::automatic, kSilent).path, copy);
}

TEST_F(Library, ForwardTakesTensorsByName) {
  const Model model = Model::from_pretrained(kCausal, float32());
  const fs::path inputs = kSource / "tests/data/forward_inputs.safetensors";
  const ForwardOutput output = model.forward(ForwardInputs::from_tensors(load_safetensors(inputs)));
  ASSERT_TRUE(output.logits);
  EXPECT_EQ(output.logits->shape().back(), 56);

  // Memory of the caller's, without a copy.
  const std::vector<std::int64_t> ids = {3, 1, 4, 1, 5};
  ForwardInputs borrowed;
  borrowed.input_ids = Tensor::borrow({DType::int64, {1, 5}, std::as_bytes(std::span(ids))});
  ForwardInputs owned;
  owned.input_ids = Tensor::from(ids, {1, 5});
  const Tensor expected = *model.forward(owned).logits, found = *model.forward(borrowed).logits;
  EXPECT_THAT(found.f32(), testing::ElementsAreArray(expected.f32()));

  std::map<std::string, Tensor> wrong;
  wrong["ids"] = Tensor::from(ids, {1, 5});
  EXPECT_THAT([&] { ForwardInputs::from_tensors(std::move(wrong), "a.safetensors"); },
              ThrowsMessage<InvalidArgument>(StartsWith("a.safetensors: expected input_ids, ")));
}

TEST_F(Library, ConfigurationsAreReadAndWritten) {
  const Model model = Model::from_pretrained(kCausal, float32());
  EXPECT_EQ(model.config().class_name(), "DiffLlamaForCausalLM");
  const ModelConfig again = ModelConfig::from_json(model.config().to_json(), "again");
  EXPECT_EQ(again.to_json(), model.config().to_json());
  EXPECT_EQ(again.hidden_size, model.config().hidden_size);
  EXPECT_THAT([] { ModelConfig::from_json("[]", "mine.json"); },
              ThrowsMessage<FormatError>(StartsWith("mine.json: expected")));
}

TEST_F(Library, GenerationConfigsHaveTheModelsDefaults) {
  write("generation_config.json", R"({"do_sample": true, "top_k": 7, "eos_token_id": [2, 3]})");
  GenerationConfig config = GenerationConfig::from_pretrained(folder_, kSilent);
  EXPECT_TRUE(config.do_sample);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(2, 3));
  EXPECT_EQ(GenerationConfig::from_pretrained(folder_ / "none", kSilent).top_k, 50);

  config.max_length = 9;
  config.update(R"({"max_new_tokens": 5, "top_k": null})");
  EXPECT_EQ(config.max_new_tokens, 5);
  EXPECT_FALSE(config.max_length);
  EXPECT_EQ(config.top_k, 7);
  GenerationConfig copy;
  copy.update(config.to_json());
  EXPECT_EQ(copy.to_json(), config.to_json());

  EXPECT_THAT([&] { config.update(R"({"top_k": "x"})", "here"); },
              ThrowsMessage<ConfigError>(StartsWith("here: top_k: expected")));
  EXPECT_THAT([&] { config.update("3"); },
              ThrowsMessage<FormatError>("generation options: expected a JSON object, got 3"));
  config.top_p = 2;
  EXPECT_THAT([&] { config.validate(); },
              ThrowsMessage<ConfigError>(StartsWith("top_p: expected")));

  const std::vector<GenerationOption> options = generation_options();
  const auto top_k = std::ranges::find(options, "top_k", &GenerationOption::name);
  ASSERT_NE(top_k, options.end());
  EXPECT_EQ(top_k->default_value, "50");
  EXPECT_EQ(top_k->shape, OptionShape::value);
}

// As Continuation::next.
Continuation::Token next_in_steps(Continuation& continuation, std::span<float> logits) {
  continuation.adjust(logits);
  continuation.warp(logits);
  return continuation.push(continuation.choose(logits));
}

// The loop that `generate` is, written by a caller.
TEST_F(Library, ACallersLoopGivesWhatGenerateGives) {
  const Model model = Model::from_pretrained(kTiny, float32());
  const Tokenizer tokenizer = Tokenizer::from_pretrained(kTiny, kSilent);
  const std::vector<std::int64_t> prompt = tokenizer.encode("My lord").ids;
  const std::vector<std::vector<std::int64_t>> prompts = {prompt};
  GenerationConfig config;
  config.do_sample = true;
  config.seed = 3;
  config.max_new_tokens = 24;
  config.num_return_sequences = 2;
  for (const std::vector<std::string>& stops :
       {std::vector<std::string>(), std::vector<std::string>{","}}) {
    config.stop_strings = stops;
    const auto expected = generate(model, prompts, config, &tokenizer);
    config.eos_token_ids = model.config().eos_token_ids;
    for (std::uint64_t stream = 0; stream < 2; ++stream) {
      Continuation continuation(config, prompt, &tokenizer, stream);
      KVCache cache = model.make_cache(1);
      std::vector<std::int64_t> ids = prompt;
      std::string text;
      while (!continuation.stop_reason()) {
        ForwardInputs inputs;
        inputs.input_ids = Tensor::from(ids, {1, std::ssize(ids)});
        inputs.logits_to_keep = 1;
        ForwardOutput output = model.forward(inputs, &cache);
        const std::span<float> logits = output.logits->f32();
        const Continuation::Token token =
            stream == 0 ? continuation.next(logits) : next_in_steps(continuation, logits);
        ids = {token.id};
        text += token.text;
      }
      const GeneratedSequence& same = expected[stream];
      EXPECT_EQ(continuation.stop_reason(), same.stop_reason);
      EXPECT_EQ(text, same.text);
      EXPECT_EQ(continuation.text(), same.text);
      EXPECT_THAT(
          std::vector(continuation.ids().begin() + std::ssize(prompt), continuation.ids().end()),
          testing::ElementsAreArray(same.ids));
      std::vector<float> logits(60);
      EXPECT_THROW(continuation.next(logits), InvalidArgument);
    }
  }
  EXPECT_THAT([&] { Continuation(config, prompt); },
              ThrowsMessage<InvalidArgument>(HasSubstr("stop_strings: expected a tokenizer")));
  config.top_p = -1;
  EXPECT_THAT([&] { Continuation(config, prompt, &tokenizer); },
              ThrowsMessage<InvalidArgument>(HasSubstr("top_p: expected")));
}

TEST_F(Library, MeasuresModels) {
  const Model model = Model::from_pretrained(kCausal, float32());
  const ModelRuntime runtime = model.runtime();
  EXPECT_EQ(runtime.compute, ComputeType::float32);
  EXPECT_EQ(runtime.cache_type, CacheType::f32);
  EXPECT_EQ(runtime.threads, 2);
  EXPECT_GT(runtime.weight_bytes, 0U);

  const ModelInfo info = model_info(kCausal, CacheType::automatic, kSilent);
  EXPECT_EQ(info.config.class_name(), "DiffLlamaForCausalLM");
  EXPECT_EQ(info.isa, runtime.isa);
  EXPECT_EQ(info.storage.tensors, std::ssize(model.parameter_names()));
  EXPECT_GT(info.peak_memory_bytes, info.cache_bytes + info.storage.bytes);
  EXPECT_GE(info.cache_bytes, info.cache_bytes_per_token * info.config.max_position_embeddings);

  Perplexity perplexity(model);
  perplexity.add(std::vector<std::int64_t>{1, 2, 3, 4});
  perplexity.add(std::vector<std::int64_t>{5, 6});
  const Perplexity::Result result = perplexity.result();
  EXPECT_EQ(result.tokens, 4);
  EXPECT_EQ(result.documents, 2);
  EXPECT_DOUBLE_EQ(result.perplexity, std::exp(result.negative_log_likelihood));

  BenchOptions options;
  options.n_prompt = {8};
  options.n_gen = {2};
  options.repetitions = 2;
  options.bandwidth_bytes = std::size_t{1} << 20;
  const std::vector<BenchResult> results = bench(model, options);
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].n_prompt, 8);
  EXPECT_EQ(results[1].n_gen, 2);
  EXPECT_GT(results[1].avg_ts(), 0);
  ParallelBenchOptions together;
  together.n_parallel = {3};
  together.n_prompt = 4;
  together.n_gen = 2;
  together.repetitions = 1;
  together.bandwidth_bytes = std::size_t{1} << 20;
  EXPECT_GT(parallel_bench(model, together).front().prompt_ts(), 0);
}

TEST_F(Library, ConvertsAndQuantises) {
  const fs::path file = folder_ / "tiny.gguf", small = folder_ / "small.gguf";
  convert_model(kTiny, file, {.warn = kSilent});
  std::uint64_t written = 0, all = 1;
  quantize_model(
      file, small, "q8_0",
      {.threads = 2, .warn = kSilent, .progress = [&](std::uint64_t done, std::uint64_t total) {
         written = done;
         all = total;
       }});
  EXPECT_EQ(written, all);
  EXPECT_TRUE(model_info(small, CacheType::q8_0, kSilent).storage_by_dtype.contains(DType::q8_0));
  EXPECT_EQ(find_model(small), small);
  EXPECT_THAT(model_files(kTiny), testing::Contains(kTiny / "config.json"));
  EXPECT_THAT(quantized_types(), testing::Contains("Q4_K_M"));
  EXPECT_THAT([&] { quantize_model(file, small, "Q9", {.warn = kSilent}); },
              ThrowsMessage<InvalidArgument>(
                  "[quantize] expected a type of F32, F16, BF16, Q8_0, Q6_K, Q5_K_M, Q5_1, Q5_0, "
                  "Q4_K_M, Q4_1, Q4_0, got Q9"));
}

TEST_F(Library, ReadsDocumentsAndWritesFiles) {
  const fs::path lines = write("a.jsonl", "{\"text\": \"one\"}\n\n{\"text\": \"two\"}\n");
  DocumentReader reader({lines});
  std::vector<std::string> texts;
  for (Document document; reader.next(document);) texts.push_back(document.text);
  EXPECT_THAT(texts, ElementsAre("one", "two"));
  EXPECT_EQ(reader.bytes_read(), reader.total_bytes());
  EXPECT_THAT(reader.files(), ElementsAre(lines));

  const fs::path out = folder_ / "out.txt";
  write_file_atomically(out, "text");
  EXPECT_EQ(fs::file_size(out), 4U);
  refuse_overwriting(out, {lines});
  EXPECT_THROW(refuse_overwriting(out, {lines, out}), InvalidArgument);
}

TEST_F(Library, TrainsWithCallbacks) {
  write("train.txt", std::string(3000, 'a') + " and some words");
  std::string recipe = complete_recipe(R"({"data": {"kind": "text", "sequence_length": 32}})");
  const auto set = [&](const std::string& name, const std::string& value) {
    recipe = set_recipe_field(recipe, name, value);
  };
  EXPECT_THAT([&] { validate_recipe(recipe, "mine"); },
              ThrowsMessage<ConfigError>(StartsWith("mine: ")));
  set("data.train", (folder_ / "train.txt").string());
  set("model.from", kTiny.string());
  set("checkpoints.output_dir", (folder_ / "run").string());
  set("training.batch_size", "1");
  set("training.max_steps", "3");
  set("lora.r", "2");
  validate_recipe(recipe);
  EXPECT_EQ(complete_recipe(recipe), recipe);
  EXPECT_THAT([&] { set("training.batch_sise", "1"); },
              ThrowsMessage<ConfigError>(HasSubstr("training.batch_size")));
  const std::vector<RecipeField> fields = recipe_fields();
  EXPECT_TRUE(std::ranges::count(fields, "training.batch_size", &RecipeField::name) == 1);

  std::vector<std::int64_t> steps;
  std::int64_t most = 0;
  TrainingOptions options;
  options.threads = 2;
  options.measure_peak = false;
  options.warn = kSilent;
  options.on_start = [&](const TrainingFacts& facts) { most = facts.max_steps; };
  options.on_step = [&](const StepMetrics& metrics) {
    steps.push_back(metrics.step);
    EXPECT_FALSE(metrics.mfu);
    EXPECT_TRUE(std::isfinite(metrics.loss));
  };
  options.stop_requested = [&] { return steps.size() == 1; };
  TrainingEnd end = train(recipe, options);
  EXPECT_FALSE(end.finished);
  EXPECT_EQ(most, 3);
  EXPECT_TRUE(fs::exists(end.checkpoint / "adapter_model.safetensors"));

  EXPECT_THROW(train(recipe, options), IoError);  // there is a checkpoint already
  options.resume = true;
  options.stop_requested = nullptr;
  end = train(recipe, options);
  EXPECT_TRUE(end.finished);
  EXPECT_THAT(steps, ElementsAre(1, 2, 3));
}

// Thrown on one side of the library's boundary, caught on the other.
TEST_F(Library, ErrorsKeepTheirTypes) {
  const auto caught = [](const auto& call) -> std::string {
    try {
      call();
    } catch (const IoError&) {
      return "IoError";
    } catch (const Error&) {
      return "Error";
    }
    return "";
  };
  EXPECT_EQ(caught([] { find_model("/nowhere/at/all"); }), "IoError");
  EXPECT_EQ(caught([] { Tensor(DType::q8_0, {3}); }), "Error");
}

}  // namespace
}  // namespace diffllama
