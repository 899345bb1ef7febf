#include "api/model.h"

#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/adapter/lora_adapter.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/save.h"
#include "config/model_config.h"
#include "diffllama/checkpoint.h"
#include "diffllama/error.h"
#include "kernels/isa.h"
#include "model/parameters.h"
#include "training/backward/model_backward.h"

namespace diffllama {

KVCache::KVCache(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
KVCache::~KVCache() = default;
KVCache::KVCache(KVCache&&) noexcept = default;
KVCache& KVCache::operator=(KVCache&&) noexcept = default;
std::int64_t KVCache::batch_size() const {
  return static_cast<std::int64_t>(impl_->state.sequences.size());
}
std::int64_t KVCache::length() const { return impl_->state.length; }

KVCache KVCache::fork() const {
  std::vector<std::int64_t> all(impl_->state.sequences.size());
  std::iota(all.begin(), all.end(), std::int64_t{0});
  auto copy = std::make_unique<Impl>();
  copy->state = select_sequences(impl_->state, all);
  return KVCache(std::move(copy));
}

void KVCache::crop(std::int64_t length) { truncate_sequences(impl_->state, length); }

void KVCache::batch_repeat_interleave(std::int64_t repeats) {
  if (repeats < 1) {
    throw InvalidArgument("[batch_repeat_interleave] expected at least 1 repeat, got " +
                          std::to_string(repeats));
  }
  std::vector<std::int64_t> indices;
  for (std::int64_t i = 0; i < batch_size(); ++i) {
    indices.insert(indices.end(), static_cast<std::size_t>(repeats), i);
  }
  batch_select_indices(indices);
}

void KVCache::batch_select_indices(std::span<const std::int64_t> indices) {
  BatchState selected = select_sequences(impl_->state, indices);
  selected.scratch = std::move(impl_->state.scratch);
  impl_->state = std::move(selected);
}

Model::Impl::Impl(ModelConfig model_config, Parameters model_parameters,
                  const LoadOptions& load_options, const ModelFiles* files)
    : config(std::move(model_config)),
      options(load_options),
      parallel(load_options.threads),
      parameters(std::move(model_parameters)) {
  if (options.prefill_chunk < 1) {
    throw InvalidArgument("[prefill_chunk] expected at least 1, got " +
                          std::to_string(options.prefill_chunk));
  }
  pack(files);
}

void Model::Impl::pack(const ModelFiles* files) {
  weights = files != nullptr && options.packed_copy
                ? load_weights(config, parameters, options.compute, *files, parallel, options.warn)
                : pack_weights(config, parameters, options.compute, parallel);
  stack =
      std::make_unique<DiffLlamaModel>(config, weights, options.prefill_chunk, options.cache_type);
}

ForwardOutput Model::Impl::forward_with_gradients(const ForwardInputs& inputs) const {
  std::map<std::string, Tensor> tensors;
  GradientMap gradients(parallel);
  for (const auto& [name, parameter] : parameters) {
    Tensor& tensor = tensors[name] = Tensor(DType::float32, parameter.shape);
    gradients.add(name, tensor.f32());
  }
  GradientScratch scratch;
  ForwardOutput output;
  add_gradients({.config = config, .weights = weights, .stack = *stack, .parameters = parameters},
                inputs, {.output = &output}, gradients, scratch, parallel);
  output.gradients = std::move(tensors);
  return output;
}

Model::Model(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Model::~Model() = default;
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;

Model Model::from_pretrained(const std::filesystem::path& path, const LoadOptions& options) {
  const std::filesystem::path found = find_model(path);
  Checkpoint opened = Checkpoint::open(found, options.warn);
  if (!options.adapter.empty()) {
    if (options.packed_copy) {
      throw InvalidArgument(
          "[packed_copy] expected no adapter with a packed copy, which is the model's own, got " +
          options.adapter.string());
    }
    opened.merge(LoraAdapter::open(options.adapter, opened.config(), options.warn));
  }
  const auto checkpoint = std::make_shared<const Checkpoint>(std::move(opened));
  const ModelFiles files = {.model = found, .checkpoint = checkpoint};
  return Model(
      std::make_unique<Impl>(checkpoint->config(), stored_parameters(checkpoint), options, &files));
}

Model Model::from_config(const ModelConfig& config, std::uint64_t seed,
                         const LoadOptions& options) {
  validate(config);
  if (!options.adapter.empty()) {
    throw InvalidArgument("[from_config] expected no adapter for a new model, got " +
                          options.adapter.string());
  }
  return Model(std::make_unique<Impl>(config, initial_parameters(config, seed), options));
}

const ModelConfig& Model::config() const { return impl_->config; }

ModelRuntime Model::runtime() const {
  const ModelWeights& weights = impl_->weights;
  ModelRuntime runtime;
  runtime.compute = compute_type(weights.product_type);
  runtime.cache_type = cache_type_for(impl_->options.cache_type, weights.product_type);
  runtime.weight_format = panel_format_name(weights.layers.front().down_proj.weight.format());
  runtime.weight_bytes = weights.packed_bytes();
  runtime.isa = isa_name(active_isa());
  runtime.threads = impl_->parallel.threads();
  return runtime;
}

ForwardOutput Model::forward(const ForwardInputs& inputs, KVCache* cache) const {
  if (inputs.output_gradients && cache != nullptr) {
    throw InvalidArgument("[output_gradients] expected no cache with gradients, got one");
  }
  if (inputs.output_gradients) return impl_->forward_with_gradients(inputs);
  BatchState* state = cache == nullptr ? nullptr : &cache->impl().state;
  return run_forward(impl_->forward_model(), inputs, state, impl_->parallel);
}

KVCache Model::make_cache(std::int64_t batch_size, const CacheOptions& cache_options) const {
  auto impl = std::make_unique<KVCache::Impl>();
  impl->state = make_batch_state(*impl_->stack, batch_size, cache_options.type);
  return KVCache(std::move(impl));
}

void Model::save_pretrained(const std::filesystem::path& directory) const {
  std::vector<TensorSource> tensors;
  for (const auto& [name, parameter] : impl_->parameters) {
    // Block-quantised values have no place in safetensors: they are written as the float32 they
    // stand for.
    const DType dtype = block_elements(parameter.dtype) == 1 ? parameter.dtype : DType::float32;
    tensors.push_back(rounded_tensor(name, dtype, parameter.shape, parameter.read_row));
  }
  save_model_directory(directory, impl_->config, std::move(tensors));
}

void Model::resize_token_embeddings(std::int64_t vocab_size) {
  ModelConfig config = impl_->config;
  config.vocab_size = vocab_size;
  validate(config);
  const std::string embeddings = base_model_prefix(config.architecture) + "embed_tokens.weight";
  for (const std::string& name : {embeddings, std::string("lm_head.weight")}) {
    const auto found = impl_->parameters.find(name);
    if (found != impl_->parameters.end()) found->second = resized_rows(found->second, vocab_size);
  }
  impl_->config = std::move(config);
  impl_->pack();
}

std::vector<std::string> Model::parameter_names() const {
  std::vector<std::string> names;
  for (const auto& [name, parameter] : impl_->parameters) names.push_back(name);
  return names;
}

Tensor Model::parameter(const std::string& name) const {
  const auto found = impl_->parameters.find(name);
  if (found == impl_->parameters.end()) {
    throw InvalidArgument("[parameter] expected one of parameter_names(), got \"" + name + "\"");
  }
  return found->second.read();
}

}  // namespace diffllama
