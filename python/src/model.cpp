#include "diffllama/model.h"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <functional>
#include <utility>

#include "bindings.h"
#include "diffllama/checkpoint.h"
#include "diffllama/error.h"
#include "diffllama/model_info.h"
#include "diffllama/transfer.h"

namespace diffllama::python {
namespace {

using nb::literals::operator""_a;

template <class T>
T named(const std::string& value, const std::vector<std::pair<const char*, T>>& names,
        const char* what) {
  std::string expected;
  for (const auto& [name, result] : names) {
    if (value == name) return result;
    expected += (expected.empty() ? "" : ", ") + std::string(name);
  }
  throw InvalidArgument(std::string(what) + ": expected one of " + expected + ", got " + value);
}

LoadOptions load_options(const std::string& dtype, int threads, std::int64_t prefill_chunk,
                         const std::string& cache_type, const std::filesystem::path& adapter,
                         bool packed_copy) {
  LoadOptions options;
  options.compute = named<ComputeType>(dtype,
                                       {{"auto", ComputeType::automatic},
                                        {"float32", ComputeType::float32},
                                        {"bfloat16", ComputeType::bfloat16}},
                                       "dtype");
  options.cache_type = named<CacheType>(cache_type,
                                        {{"auto", CacheType::automatic},
                                         {"f32", CacheType::f32},
                                         {"bf16", CacheType::bf16},
                                         {"q8_0", CacheType::q8_0}},
                                        "cache_type");
  options.threads = threads;
  options.prefill_chunk = prefill_chunk;
  options.adapter = adapter;
  options.packed_copy = packed_copy;
  options.warn = python_warnings();
  return options;
}

void load(ModelHolder* self, const std::filesystem::path& path,
          const std::optional<std::string>& config, std::uint64_t seed, const std::string& dtype,
          int threads, std::int64_t prefill_chunk, const std::string& cache_type,
          const std::filesystem::path& adapter, bool packed_copy) {
  const LoadOptions options =
      load_options(dtype, threads, prefill_chunk, cache_type, adapter, packed_copy);
  const nb::gil_scoped_release release;
  if (config) {
    const ModelConfig parsed = ModelConfig::from_json(*config, "config", options.warn);
    new (self) ModelHolder(path.empty() ? Model::from_config(parsed, seed, options)
                                        : from_pretrained_as(parsed, path, seed, options));
  } else {
    new (self) ModelHolder(Model::from_pretrained(path, options));
  }
}

nb::list arrays(std::vector<Tensor>& tensors) {
  nb::list list;
  for (Tensor& tensor : tensors) list.append(to_numpy(std::move(tensor)));
  return list;
}

nb::dict to_dict(ForwardOutput output) {
  nb::dict dict;
  const auto add = [&](const char* name, std::optional<Tensor>& tensor) {
    if (tensor) dict[name] = to_numpy(std::move(*tensor));
  };
  if (output.loss) dict["loss"] = *output.loss;
  add("logits", output.logits);
  add("last_hidden_state", output.last_hidden_state);
  add("start_logits", output.start_logits);
  add("end_logits", output.end_logits);
  if (!output.hidden_states.empty()) dict["hidden_states"] = arrays(output.hidden_states);
  if (!output.attentions.empty()) dict["attentions"] = arrays(output.attentions);
  if (!output.gradients.empty()) {
    nb::dict gradients;
    for (auto& [name, tensor] : output.gradients) {
      gradients[name.c_str()] = to_numpy(std::move(tensor));
    }
    dict["gradients"] = gradients;
  }
  return dict;
}

nb::dict forward(ModelHolder& self, nb::handle input_ids, nb::handle inputs_embeds,
                 nb::handle attention_mask, nb::handle position_ids, nb::handle labels,
                 nb::handle start_positions, nb::handle end_positions, KVCache* cache,
                 std::int64_t logits_to_keep, bool output_hidden_states, bool output_attentions,
                 bool output_gradients) {
  ForwardInputs inputs;
  inputs.input_ids = to_tensor(input_ids, "input_ids");
  inputs.inputs_embeds = to_tensor(inputs_embeds, "inputs_embeds", DType::float32);
  inputs.attention_mask = to_tensor(attention_mask, "attention_mask");
  inputs.position_ids = to_tensor(position_ids, "position_ids");
  inputs.labels = to_tensor(labels, "labels", std::nullopt);
  inputs.start_positions = to_tensor(start_positions, "start_positions");
  inputs.end_positions = to_tensor(end_positions, "end_positions");
  inputs.logits_to_keep = logits_to_keep;
  inputs.output_hidden_states = output_hidden_states;
  inputs.output_attentions = output_attentions;
  inputs.output_gradients = output_gradients;
  return to_dict(compute(self, [&](const Model& model) { return model.forward(inputs, cache); }));
}

void set_parameters(ModelHolder& self, const std::map<std::string, nb::object>& values) {
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, value] : values) {
    std::optional<Tensor> tensor = to_tensor(value, name.c_str(), DType::float32);
    if (!tensor) throw InvalidArgument(name + ": expected an array, got None");
    tensors.emplace(name, std::move(*tensor));
  }
  change(self, [&](Model& model) { diffllama::set_parameters(model, tensors); });
}

void set_config(ModelHolder& self, const std::string& json) {
  const ModelConfig config = ModelConfig::from_json(json, "config", python_warnings());
  change(self, [&](Model& model) { diffllama::set_config(model, config); });
}

nb::dict runtime(const ModelHolder& self) {
  const ModelRuntime runtime = self.get().runtime();
  nb::dict dict;
  dict["compute"] = runtime.compute == ComputeType::float32 ? "float32" : "bfloat16";
  dict["cache_type"] = runtime.cache_type == CacheType::f32    ? "f32"
                       : runtime.cache_type == CacheType::bf16 ? "bf16"
                                                               : "q8_0";
  dict["weight_format"] = runtime.weight_format;
  dict["weight_bytes"] = runtime.weight_bytes;
  dict["isa"] = runtime.isa;
  dict["threads"] = runtime.threads;
  return dict;
}

void bind_cache(nb::module_& module) {
  nb::class_<KVCache>(module, "KVCache", "Keys and values of a batch of sequences.")
      .def_prop_ro("batch_size", &KVCache::batch_size, "Sequences.")
      .def_prop_ro("length", &KVCache::length, "Tokens so far, masked ones included.")
      .def("fork", &KVCache::fork, "Another cache with the same past.")
      .def("crop", &KVCache::crop, "length"_a, "Forgets all but the first tokens.")
      .def("batch_repeat_interleave", &KVCache::batch_repeat_interleave, "repeats"_a,
           "Each sequence `repeats` times.")
      .def(
          "batch_select_indices",
          [](KVCache& self, const std::vector<std::int64_t>& indices) {
            self.batch_select_indices(indices);
          },
          "indices"_a, "The sequences `indices`, in that order.");
}

void bind_functions(nb::module_& module) {
  module.def(
      "find_model", [](const std::filesystem::path& path) { return find_model(path); }, "path"_a,
      "Where the model lies that `path` means.");
  module.def(
      "complete_config",
      [](const std::string& json, const std::string& where) {
        return ModelConfig::from_json(json, where, python_warnings()).to_json();
      },
      "json"_a, "where"_a = "config.json",
      "A config.json with every default, validated. Raises FormatError and ConfigError.");
  module.def(
      "model_config",
      [](const std::filesystem::path& path) {
        return model_info(path, CacheType::automatic, python_warnings()).config.to_json();
      },
      "path"_a, nb::call_guard<nb::gil_scoped_release>(),
      "The config.json of a directory or .gguf file.");
  module.def(
      "convert_model",
      [](const std::filesystem::path& in, const std::filesystem::path& out) {
        convert_model(in, out, {.warn = python_warnings()});
      },
      "input"_a, "output"_a, nb::call_guard<nb::gil_scoped_release>(),
      "A Hugging Face directory to a .gguf file, or back.");
}

}  // namespace

void bind_model(nb::module_& module) {
  bind_cache(module);
  bind_functions(module);
  nb::class_<ModelHolder>(module, "Model", "A model as the engine holds it.")
      .def("__init__", &load, "path"_a, "config"_a = nb::none(), "seed"_a = 0, "dtype"_a = "auto",
           "threads"_a = 0, "prefill_chunk"_a = 512, "cache_type"_a = "auto", "adapter"_a = "",
           "packed_copy"_a = false)
      .def("config", [](const ModelHolder& self) { return self.get().config().to_json(); })
      .def("class_name", [](const ModelHolder& self) { return self.get().config().class_name(); })
      .def("runtime", &runtime)
      .def("forward", &forward, "input_ids"_a.none() = nb::none(),
           "inputs_embeds"_a.none() = nb::none(), "attention_mask"_a.none() = nb::none(),
           "position_ids"_a.none() = nb::none(), "labels"_a.none() = nb::none(),
           "start_positions"_a.none() = nb::none(), "end_positions"_a.none() = nb::none(),
           "cache"_a.none() = nb::none(), "logits_to_keep"_a = 0, "output_hidden_states"_a = false,
           "output_attentions"_a = false, "output_gradients"_a = false)
      .def(
          "make_cache",
          [](const ModelHolder& self, std::int64_t batch) { return self.get().make_cache(batch); },
          "batch_size"_a)
      .def(
          "save_pretrained",
          [](ModelHolder& self, const std::filesystem::path& directory) {
            compute(self, [&](const Model& model) { model.save_pretrained(directory); });
          },
          "directory"_a)
      .def(
          "resize_token_embeddings",
          [](ModelHolder& self, std::int64_t size) {
            change(self, [&](Model& model) { model.resize_token_embeddings(size); });
          },
          "vocab_size"_a)
      .def("parameter_names", [](const ModelHolder& self) { return self.get().parameter_names(); })
      .def(
          "parameter",
          [](ModelHolder& self, const std::string& name) {
            return to_numpy(
                compute(self, [&](const Model& model) { return model.parameter(name); }));
          },
          "name"_a)
      .def("set_parameters", &set_parameters, "values"_a)
      .def("set_config", &set_config, "json"_a);
}

}  // namespace diffllama::python
