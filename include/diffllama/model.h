#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "diffllama/config.h"
#include "diffllama/tensor.h"

namespace [[gnu::visibility("default")]] diffllama {

/// How products are computed; weights stay as stored. automatic: float32 and float16 weights in
/// float32, all others in bfloat16 (products of bfloat16 values, summed in float32).
enum class ComputeType { automatic, float32, bfloat16 };

/// How keys and values are kept (llama.cpp's --cache-type-k names). automatic: f32 when products
/// are computed in float32, bf16 when in bfloat16. q8_0: int8 with a float16 scale for every 32
/// values, 8.5 bits a value. With f32 attention is computed in float32 whatever the other products
/// are.
enum class CacheType { automatic, f32, bf16, q8_0 };

struct LoadOptions {
  ComputeType compute = ComputeType::automatic;
  int threads = 0;  // 0: one per core; never changes a result
  /// Most tokens that go through the layers at once; bounds scratch memory and never changes a
  /// result.
  std::int64_t prefill_chunk = 512;
  CacheType cache_type = CacheType::automatic;  // of the caches that the model makes
  /// A LoRA adapter as PEFT saves it, a directory with adapter_config.json and
  /// adapter_model.safetensors, merged into the weights in float32; empty: none. Only for
  /// from_pretrained. The weights that it changes are float32 from then on, also where saved.
  std::filesystem::path adapter;
  /// from_pretrained: keep the weights, packed as products read them, in a file beside the model
  /// ("MODEL.gguf.packed-bfloat16", "DIRECTORY/model.packed-float32", as large as they are in
  /// memory), and map it at later starts instead of packing them again. Never changes a result. A
  /// file that is not the copy of these very files is made anew, with a warning; where it cannot
  /// be written there is a warning only.
  bool packed_copy = false;
  WarningHandler warn;  // absent: stderr
};

struct CacheOptions {
  CacheType type = CacheType::automatic;  // automatic: the model's LoadOptions::cache_type
};

/// Keys and values of a batch of sequences, owned by the caller. A cache belongs to the model that
/// made it. Memory comes in blocks of 256 keys; caches made from one another share full blocks, and
/// copy one only to write to it. Methods are named as those of transformers' Cache.
class KVCache {
 public:
  ~KVCache();
  KVCache(KVCache&&) noexcept;
  KVCache& operator=(KVCache&&) noexcept;
  std::int64_t batch_size() const;
  /// Tokens that went through so far, masked ones included.
  std::int64_t length() const;

  /// Another cache with the same past, independent from here on.
  KVCache fork() const;
  /// Forgets all but the first `length` tokens of every sequence; what follows gives the same bits
  /// as if the others had never been. Throws InvalidArgument unless 0 <= length <= length().
  void crop(std::int64_t length);
  /// Each sequence `repeats` times, one after the other. Throws InvalidArgument unless repeats
  /// >= 1.
  void batch_repeat_interleave(std::int64_t repeats);
  /// The sequences `indices` in that order, some perhaps several times, some not: the beams that
  /// went on. Throws InvalidArgument for an empty list and indices outside 0..batch_size() - 1.
  void batch_select_indices(std::span<const std::int64_t> indices);

  struct Impl;
  [[gnu::visibility("hidden")]] explicit KVCache(std::unique_ptr<Impl> impl);
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

/// What `forward` of the transformers classes takes. B batch, T tokens, S keys (cached ones and T),
/// C hidden_size.
struct ForwardInputs {
  std::optional<Tensor> input_ids;       // int64 [B, T]
  std::optional<Tensor> inputs_embeds;   // float32 [B, T, C], in place of input_ids
  std::optional<Tensor> attention_mask;  // int64 or boolean; [B, S] or [B, 1, T, S]; 1: may be seen
  std::optional<Tensor> position_ids;    // int64 [B, T]; default: 0..T-1 plus what the cache holds
  std::optional<Tensor> labels;  // int64 [B, T], or [B], or float32 [B] / [B, num_labels], by head
  std::optional<Tensor> start_positions, end_positions;  // int64 [B], question answering
  std::int64_t logits_to_keep = 0;  // causal LM: logits of the last N tokens; 0: of all
  bool output_hidden_states = false;
  bool output_attentions = false;
  /// The gradient of the loss for every parameter, in evaluation mode; needs labels (positions for
  /// question answering), and no cache.
  bool output_gradients = false;

  /// Of tensors named as the members are, as a safetensors file holds them. Throws InvalidArgument
  /// that starts with `where` for another name.
  static ForwardInputs from_tensors(std::map<std::string, Tensor> tensors,
                                    const std::string& where = "inputs");
};

/// Which members are set depends on the head (docs/model.md "Heads").
struct ForwardOutput {
  std::optional<Tensor> logits;             // [B, T, V], [B, num_labels] or [B, T, num_labels]
  std::optional<Tensor> last_hidden_state;  // base model, [B, T, C]
  std::optional<Tensor> start_logits, end_logits;  // [B, T]
  std::optional<float> loss;                       // when labels were given
  std::vector<Tensor> hidden_states;  // L + 1 of [B, T, C]; the last is the final norm's output
  std::vector<Tensor> attentions;     // L of [B, H, T, S]: the softmax maps
  /// float32, by parameter name, in its shape; all zero where no label counts.
  std::map<std::string, Tensor> gradients;
};

/// How a model computes on this machine: what LoadOptions came to.
struct ModelRuntime {
  ComputeType compute = ComputeType::float32;  // not automatic
  CacheType cache_type = CacheType::f32;       // not automatic
  std::string weight_format;     // of the layers' matrices as products read them: "bf16", "q4_k"
  std::size_t weight_bytes = 0;  // of all matrices so: what one decoded token reads
  std::string isa;               // the kernels: "avx2", "avx512", ...
  int threads = 1;
};

/// A DiffLlama (or Llama) with its head. Immutable but for resize_token_embeddings; one forward at
/// a time per Model.
class Model {
 public:
  /// Opens a Hugging Face directory or a .gguf file. Throws IoError, FormatError, ConfigError;
  /// missing and mis-shaped tensors, of the model or of the adapter, are all named in one
  /// FormatError before anything is computed.
  static Model from_pretrained(const std::filesystem::path& path, const LoadOptions& options = {});
  /// A new model with transformers' initialisation: normal(0, initializer_range) weights, zero
  /// biases, ones in norms, the padding row of the embeddings zero, lambda vectors normal(0,
  /// lambda_std_dev). The same seed gives the same bytes.
  static Model from_config(const ModelConfig& config, std::uint64_t seed,
                           const LoadOptions& options = {});

  ~Model();
  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;

  const ModelConfig& config() const;
  ModelRuntime runtime() const;
  /// Runs the model once, on tokens that come after those in `cache`, where there is one; when it
  /// throws, the cache is as it was. Throws InvalidArgument naming the input.
  ForwardOutput forward(const ForwardInputs& inputs, KVCache* cache = nullptr) const;
  /// An empty cache for `batch_size` sequences. Throws InvalidArgument unless batch_size >= 1.
  KVCache make_cache(std::int64_t batch_size, const CacheOptions& options = {}) const;

  /// Writes config.json and model.safetensors as transformers names them, in the stored dtypes,
  /// each atomically.
  void save_pretrained(const std::filesystem::path& directory) const;
  /// Sets vocab_size: rows are cut from the end, or added as the mean of the old ones
  /// (transformers' mean_resizing without its noise of 1e-9 covariance). Applies to embed_tokens
  /// and lm_head.
  void resize_token_embeddings(std::int64_t vocab_size);
  /// Every parameter by its transformers name, as float32; a tied lm_head is not listed.
  std::vector<std::string> parameter_names() const;
  Tensor parameter(const std::string& name) const;

  struct Impl;
  [[gnu::visibility("hidden")]] explicit Model(std::unique_ptr<Impl> impl);
  Impl& impl() const { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace diffllama
