#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/random.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/codec/row_codec.h"
#include "checkpoint/conversion/convert.h"
#include "checkpoint/conversion/gguf_texts.h"
#include "checkpoint/conversion/new_directory.h"
#include "checkpoint/directory_texts.h"
#include "checkpoint/fitting_tensor.h"
#include "checkpoint/gguf/gguf.h"
#include "checkpoint/safetensors/safetensors.h"
#include "config/json_fields.h"
#include "config/model_config.h"
#include "config/names.h"
#include "config/warnings.h"
#include "diffllama/checkpoint.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;

using RowMap = std::function<std::int64_t(std::int64_t)>;

std::int64_t unmoved(std::int64_t row) { return row; }

// A model as another: its config, and where its rows come from. Columns of o_proj are what heads
// put out.
struct Plan {
  ModelConfig config;
  RowMap query = unmoved, key = unmoved,
         value = unmoved;   // row of the new model to that of the old
  RowMap output = unmoved;  // column of o_proj
  double output_factor = 1;
  bool folds_norm = false;  // subln's weight goes into o_proj
  std::function<bool(std::int64_t)> second_map = [](std::int64_t) { return false; };  // of q rows
};

// Rows of heads of size d: new head h is old head heads(h), its row i is row rows(i) there.
RowMap by_head(std::int64_t d, RowMap heads, RowMap rows = unmoved) {
  return [=, heads = std::move(heads), rows = std::move(rows)](std::int64_t row) {
    return heads(row / d) * d + rows(row % d);
  };
}

// Of `count` things of which two belong together: where the i-th in halves (all first ones, then
// all second ones) stands in pairs, and the way back. Heads come so, and the rotary pairs of one.
RowMap pairs_to_halves(std::int64_t count) {
  return [half = count / 2](std::int64_t i) { return i % half * 2 + i / half; };
}
RowMap halves_to_pairs(std::int64_t count) {
  return [half = count / 2](std::int64_t i) { return i / 2 + i % 2 * half; };
}

std::string target_name(FamilyTarget to) {
  for (const auto& [name, target] : family_targets()) {
    if (target == to) return name;
  }
  return "";
}

class Planner {
 public:
  Planner(const ModelConfig& config, const FamilyOptions& options, std::string where)
      : old_(config), options_(options), where_(std::move(where)) {
    plan_.config = config;
  }

  Plan plan() {
    const bool from_llama = old_.model_type == ModelType::llama;
    if (old_.architecture != Architecture::causal_lm) {
      refuse("architectures", "a causal LM", architecture_name(old_.model_type, old_.architecture));
    }
    if (from_llama && (old_.qk_norm || !old_.dex.empty())) {
      refuse(old_.qk_norm ? "qk_norm" : "dex", "a plain Llama", "this");
    }
    if (options_.heads != PairedHeads::none &&
        !(from_llama && options_.to == FamilyTarget::diffllama)) {
      throw InvalidArgument(
          "[convert] expected --mirror or --split-heads only with a llama to diffllama, got one "
          "with a " +
          std::string(model_type_name(old_.model_type)) + " to " + target_name(options_.to));
    }
    switch (options_.to) {
      case FamilyTarget::diff_transformer_v2:
        if (!from_llama) refuse_type("llama");
        to_v2();
        break;
      case FamilyTarget::dex:
        if (!from_llama) refuse_type("llama");
        to_dex();
        break;
      case FamilyTarget::diff_transformer:
        if (old_.model_type != ModelType::diffllama) refuse_type("diffllama");
        to_v1();
        break;
      case FamilyTarget::diffllama:
        if (old_.model_type == ModelType::diff_transformer) {
          from_v1();
        } else {
          if (!from_llama) refuse_type("llama or diff_transformer");
          to_diffllama();
        }
        break;
    }
    validate(plan_.config, where_, [](const std::string&) {});
    return std::move(plan_);
  }

 private:
  [[noreturn]] void refuse(const char* field, const std::string& expected,
                           const std::string& found) const {
    reject_field(where_, field, expected, found);
  }
  [[noreturn]] void refuse_type(const std::string& expected) const {
    refuse("model_type", expected + " for --to " + target_name(options_.to),
           std::string(model_type_name(old_.model_type)));
  }
  void refuse_mlp_bias() const {
    if (old_.mlp_bias) refuse("mlp_bias", "false, since DiffLlama has none", "true");
  }

  // Both maps of pair p are the Llama's head p: a - a / 2, doubled.
  void to_v2() {
    ModelConfig& config = plan_.config;
    config.model_type = ModelType::diff_transformer_v2;
    config.num_attention_heads = 2 * old_.num_attention_heads;
    config.rope_interleaved = false;
    plan_.query = by_head(old_.head_dim, [](std::int64_t head) { return head / 2; });
    plan_.second_map = [d = old_.head_dim](std::int64_t row) { return row / d % 2 == 1; };
    plan_.output_factor = 2;
  }

  void to_dex() {
    DexHeads all;
    for (std::int64_t head = 0; head < old_.num_attention_heads; ++head) all.heads.push_back(head);
    for (all.layer = 0; all.layer < old_.num_hidden_layers; ++all.layer) {
      plan_.config.dex.push_back(all);
    }
  }

  void to_diffllama() {
    refuse_mlp_bias();
    ModelConfig& config = plan_.config;
    config.model_type = ModelType::diffllama;
    const std::int64_t d = old_.head_dim;
    const std::int64_t heads = old_.num_attention_heads;
    switch (options_.heads) {
      case PairedHeads::none:
        throw InvalidArgument(
            "[convert] expected --mirror or --split-heads with a Llama to diffllama, whose norm "
            "makes another function of it, got neither");
      case PairedHeads::mirror: {
        const std::int64_t key_heads = old_.num_key_value_heads;
        config.num_attention_heads = 2 * heads;
        config.num_key_value_heads = 2 * key_heads;
        plan_.query = by_head(d, [=](std::int64_t head) { return head % heads; });
        plan_.key = by_head(d, [=](std::int64_t head) { return head % key_heads; });
        plan_.value = plan_.key;
        plan_.output = by_head(d, [](std::int64_t head) { return head / 2; });  // both halves alike
        plan_.output_factor = 0.5;
        plan_.second_map = [=](std::int64_t row) { return row / d >= heads; };
        return;
      }
      case PairedHeads::split_heads:
        // Pair p puts out the values of heads p and p + H/2 side by side.
        plan_.output = by_head(d, halves_to_pairs(heads));
        plan_.second_map = [=](std::int64_t row) { return row / d >= heads / 2; };
        return;
    }
  }

  // Heads 2p + m become p + m H/2, key and value heads 2j + m become j + m K/2.
  void from_v1() {
    refuse_mlp_bias();
    ModelConfig& config = plan_.config;
    if (!old_.kv_pairs && old_.num_attention_heads != old_.num_key_value_heads) {
      refuse("kv_pairs",
             "true, or as many key heads as query heads: both maps of a pair read one key head "
             "here, in DiffLlama two",
             "false");
    }
    if (old_.subln_eps != old_.rms_norm_eps) {
      refuse("subln_eps",
             number_text(old_.rms_norm_eps) + ", rms_norm_eps, which DiffLlama's norm has",
             number_text(old_.subln_eps));
    }
    if (old_.lambda_init) {
      refuse("lambda_init", "null: DiffLlama's depends on the layer",
             number_text(*old_.lambda_init));
    }
    config.model_type = ModelType::diffllama;
    const std::int64_t d = old_.head_dim;
    const RowMap rotary = old_.rope_interleaved ? pairs_to_halves(d) : RowMap(unmoved);
    plan_.query = by_head(d, pairs_to_halves(old_.num_attention_heads), rotary);
    plan_.key = by_head(d, pairs_to_halves(old_.num_key_value_heads), rotary);
    plan_.value = by_head(d, pairs_to_halves(old_.num_key_value_heads));
    plan_.folds_norm = true;
  }

  void to_v1() {
    ModelConfig& config = plan_.config;
    config.model_type = ModelType::diff_transformer;
    config.kv_pairs = true;
    config.rope_interleaved = true;
    config.subln_eps = old_.rms_norm_eps;
    const std::int64_t d = old_.head_dim;
    plan_.query = by_head(d, halves_to_pairs(old_.num_attention_heads), halves_to_pairs(d));
    plan_.key = by_head(d, halves_to_pairs(old_.num_key_value_heads), halves_to_pairs(d));
    plan_.value = by_head(d, halves_to_pairs(old_.num_key_value_heads));
  }

  const ModelConfig& old_;
  const FamilyOptions& options_;
  std::string where_;
  Plan plan_;
};

// Normal numbers on top of row `row` of a tensor.
void add_noise(const Random& random, double deviation, std::int64_t row, std::span<float> out) {
  const std::uint64_t first = static_cast<std::uint64_t>(row) * out.size();
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] += static_cast<float>(deviation * random.normal(first + i));
  }
}

class FamilyWriter {
 public:
  FamilyWriter(std::shared_ptr<const Checkpoint> checkpoint, Plan plan, FamilyOptions family,
               const ConvertOptions& options)
      : checkpoint_(std::move(checkpoint)),
        plan_(std::make_shared<const Plan>(std::move(plan))),
        family_(std::move(family)),
        expanded_(options.expanded),
        warn_(options.warn) {}

  std::vector<TensorSource> tensors() const {
    std::vector<TensorSource> result;
    for (const TensorSpec& spec : tensor_specs(plan_->config)) {
      if (spec.required || checkpoint_->find(spec.name) != nullptr) {
        result.push_back(tensor(spec));
      }
    }
    return result;
  }

 private:
  TensorSource tensor(const TensorSpec& spec) const {
    const auto is = [&](const char* part) {
      return spec.name.find(std::string(".self_attn.") + part) != std::string::npos;
    };
    if (checkpoint_->find(spec.name) == nullptr) return fresh(spec);
    if (is("q_proj.")) return rows(spec, plan_->query, true);
    if (is("k_proj.")) return rows(spec, plan_->key, false);
    if (is("v_proj.")) return rows(spec, plan_->value, false);
    if (is("o_proj.weight")) return outputs(spec);
    return rows(spec, unmoved, false);
  }

  DType dtype_of(const StoredTensor& stored) const {
    return block_elements(stored.view.dtype) == 1 ? stored.view.dtype : expanded_;
  }

  // What the old model has not: lambda 0, a norm's weights 1, dex_proj random.
  TensorSource fresh(const TensorSpec& spec) const {
    const StoredTensor* like = checkpoint_->find(base_model_prefix(plan_->config.architecture) +
                                                 "layers.0.self_attn.q_proj.weight");
    const DType dtype = like == nullptr ? expanded_ : dtype_of(*like);
    const float value = spec.name.ends_with("subln.weight") ? 1.0F : 0.0F;
    double deviation = 0;
    if (spec.name.ends_with("dex_proj.weight")) {
      deviation = family_.noise > 0 ? family_.noise : plan_->config.initializer_range;
    }
    const Random random(family_.seed, random_stream(spec.name));
    return rounded_tensor(spec.name, dtype, spec.shape,
                          [=](std::int64_t row, std::span<float> out) {
                            std::ranges::fill(out, value);
                            if (deviation > 0) add_noise(random, deviation, row, out);
                          });
  }

  // Rows of a matrix, or values of its bias, from elsewhere.
  TensorSource rows(const TensorSpec& spec, const RowMap& from, bool query) const {
    const StoredTensor& stored = *checkpoint_->find(spec.name);
    const bool noisy = query && family_.noise > 0 && spec.shape.size() > 1;
    const Random random(family_.seed, random_stream(spec.name));
    return fitting_tensor(spec.name, dtype_of(stored), spec.shape, stored.where,
                          [=, checkpoint = checkpoint_, plan = plan_, &stored,
                           noise = family_.noise](std::int64_t row, std::span<float> out) {
                            if (stored.view.shape.size() == 1)
                              return move_values(stored, from, out);
                            stored.read_row(from(row), out);
                            if (noisy && plan->second_map(row)) add_noise(random, noise, row, out);
                          });
  }

  static void move_values(const StoredTensor& stored, const RowMap& from, std::span<float> out) {
    std::vector<float> values(static_cast<std::size_t>(stored.view.shape[0]));
    stored.read_row(0, values);
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] = values[static_cast<std::size_t>(from(static_cast<std::int64_t>(i)))];
    }
  }

  // o_proj, by its columns.
  TensorSource outputs(const TensorSpec& spec) const {
    const StoredTensor& stored = *checkpoint_->find(spec.name);
    std::vector<float> norm;
    if (plan_->folds_norm) {
      const std::string module = spec.name.substr(0, spec.name.rfind("o_proj"));
      norm.resize(static_cast<std::size_t>(2 * plan_->config.head_dim));
      checkpoint_->find(module + "subln.weight")->read_row(0, norm);
    }
    const bool folds = std::ranges::any_of(norm, [](float weight) { return weight != 1.0F; });
    if (!folds) norm.clear();
    const auto read_row = [=, checkpoint = checkpoint_, plan = plan_, &stored](
                              std::int64_t row, std::span<float> out) {
      std::vector<float> values(static_cast<std::size_t>(stored.view.shape[1]));
      stored.read_row(row, values);
      for (std::size_t i = 0; i < out.size(); ++i) {
        const auto from = static_cast<std::size_t>(plan->output(static_cast<std::int64_t>(i)));
        out[i] = values[from] * static_cast<float>(plan->output_factor);
        if (!norm.empty()) out[i] *= norm[i % norm.size()];
        if (!std::isfinite(out[i]) && std::isfinite(values[from])) {
          refuse_overflow(stored.where, DType::float32, plan->output_factor * values[from], row);
        }
      }
    };
    const DType dtype = folds ? DType::float32 : widened(spec, stored, read_row);
    return fitting_tensor(spec.name, dtype, spec.shape, stored.where, read_row);
  }

  // The stored type, or float32 where a value of the new tensor does not fit that.
  DType widened(const TensorSpec& spec, const StoredTensor& stored,
                const std::function<void(std::int64_t, std::span<float>)>& read_row) const {
    const DType dtype = dtype_of(stored);
    if (plan_->output_factor <= 1 || dtype == DType::float32) return dtype;
    std::vector<float> values(static_cast<std::size_t>(spec.shape.back()));
    for (std::int64_t row = 0; row < row_count(spec.shape); ++row) {
      read_row(row, values);
      const float largest = largest_finite(values);
      if (fits(dtype, largest)) continue;
      emit_warning(warn_, stored.where + ": " + number_text(double{largest}) + " in row " +
                              std::to_string(row) + " does not fit " +
                              std::string(dtype_name(dtype)) + ", so it is written as float32");
      return DType::float32;
    }
    return dtype;
  }

  std::shared_ptr<const Checkpoint> checkpoint_;
  std::shared_ptr<const Plan> plan_;
  FamilyOptions family_;
  DType expanded_;
  WarningHandler warn_;
};

// Whether an o_proj is float32 that was not. The config must then say float32, since transformers
// gives every tensor its type.
bool widens(const std::vector<TensorSource>& tensors, const Checkpoint& before) {
  return std::ranges::any_of(tensors, [&](const TensorSource& tensor) {
    const StoredTensor* old = before.find(tensor.name);
    return tensor.dtype == DType::float32 && tensor.name.ends_with("o_proj.weight") &&
           old != nullptr && old->view.dtype != DType::float32;
  });
}

}  // namespace

const std::map<std::string, FamilyTarget>& family_targets() {
  static const std::map<std::string, FamilyTarget> targets = {
      {"diffllama", FamilyTarget::diffllama},
      {"diff_transformer", FamilyTarget::diff_transformer},
      {"diff_transformer_v2", FamilyTarget::diff_transformer_v2},
      {"dex", FamilyTarget::dex}};
  return targets;
}

void convert_family(const fs::path& in, const fs::path& out, const FamilyOptions& family,
                    const ConvertOptions& options) {
  refuse_overwriting_model(out, in, {});
  if (out.extension() == ".gguf") {
    throw InvalidArgument(out.string() +
                          ": expected a directory with --to, got a .gguf file (convert makes one "
                          "of the directory)");
  }
  const auto checkpoint = std::make_shared<const Checkpoint>(Checkpoint::open(in, options.warn));
  std::error_code error;
  DirectoryTexts texts = fs::is_directory(in, error)
                             ? read_directory_texts(in)
                             : read_gguf_texts(GgufFile(in), checkpoint->config(), options.warn);
  const Plan plan = Planner(checkpoint->config(), family, in.string()).plan();
  std::vector<TensorSource> tensors = FamilyWriter(checkpoint, plan, family, options).tensors();
  ModelConfig config = plan.config;
  if (plan.folds_norm || widens(tensors, *checkpoint)) config.dtype = DType::float32;
  texts.config = write_model_config(config);
  UnfinishedDirectory directory = new_directory(out);
  directory.fill([&](const fs::path& unfinished) {
    write_safetensors(unfinished / "model.safetensors",
                      with_progress(std::move(tensors), options.progress));
    write_directory_texts(unfinished, texts);
    if (family.prove) family.prove(unfinished);
  });
  directory.commit();
}

}  // namespace diffllama
