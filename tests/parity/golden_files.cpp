#include "parity/golden_files.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <set>
#include <stdexcept>
#include <utility>

#include <nlohmann/json.hpp>

namespace diffllama::parity {

namespace {

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path.string());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

DType parse_dtype(const std::string& name) {
  if (name == "F32") return DType::float32;
  if (name == "I64") return DType::int64;
  if (name == "BOOL") return DType::boolean;
  throw std::runtime_error("goldens hold F32, I64 and BOOL tensors, found " + name);
}

void take(Tensors& from, const std::string& name, std::optional<Tensor>& to) {
  auto node = from.extract(name);
  if (!node.empty()) to = std::move(node.mapped());
}

// Those whose names begin with `prefix`, without it.
Tensors tensors_under(const Tensors& from, const std::string& prefix) {
  Tensors found;
  for (auto at = from.lower_bound(prefix); at != from.end() && at->first.starts_with(prefix);
       ++at) {
    found.emplace(at->first.substr(prefix.size()), at->second);
  }
  if (found.empty()) throw std::runtime_error("no tensors " + prefix + "...");
  return found;
}

constexpr const char* kCasesFile = "cases.safetensors";

std::filesystem::path golden_root() { return source_dir() / "tests/golden/forward"; }

// {MODEL: {CASE: its record}}
const nlohmann::json& golden_records() {
  static const nlohmann::json records =
      nlohmann::json::parse(read_file(golden_root() / "cases.json"));
  return records;
}

// Of all cases of a model; the last one's are kept, since cases are loaded model by model.
const Tensors& case_tensors(const std::string& model) {
  static std::pair<std::string, Tensors> last;
  if (last.first != model) last = {model, load_tensors(golden_root() / model / kCasesFile)};
  return last.second;
}

}  // namespace

std::filesystem::path source_dir() { return DIFFLLAMA_SOURCE_DIR; }

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& [model, cases] : golden_records().items()) {
    for (const auto& [name, record] : cases.items()) {
      names.push_back(model);
      names.back().append("/").append(name);
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> stored_golden_names() {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(golden_root())) {
    if (!entry.is_directory()) continue;
    const std::string model = entry.path().filename();
    for (const auto& [name, tensor] : load_tensors(entry.path() / kCasesFile)) {
      names.insert(model + "/" + name.substr(0, name.find('/')));
    }
  }
  return {names.begin(), names.end()};
}

// Written apart from src/checkpoint, so that a mistake there does not hide here.
Tensors load_tensors(const std::filesystem::path& path) {
  const std::string bytes = read_file(path);
  std::uint64_t header_size = 0;
  std::memcpy(&header_size, bytes.data(), sizeof header_size);
  const auto header = nlohmann::json::parse(bytes.substr(8, header_size));
  Tensors tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    Tensor tensor(parse_dtype(entry.at("dtype")), entry.at("shape").get<Shape>());
    const auto begin = entry.at("data_offsets").at(0).get<std::size_t>();
    const auto data = std::as_bytes(std::span(bytes)).subspan(8 + header_size + begin);
    std::memcpy(tensor.bytes().data(), data.first(tensor.bytes().size()).data(),
                tensor.bytes().size());
    tensors.emplace(name, std::move(tensor));
  }
  return tensors;
}

Golden load_golden(const std::string& name) {
  const std::string model = name.substr(0, name.find('/'));
  const std::string case_name = name.substr(model.size() + 1);
  const auto& record = golden_records().at(model).at(case_name);
  const auto directory = golden_root() / model;
  Golden golden;
  golden.checkpoint = record.contains("checkpoint")
                          ? source_dir() / record.at("checkpoint").get<std::string>()
                          : directory;
  const Tensors& tensors = case_tensors(model);
  golden.outputs = tensors_under(tensors, case_name + "/outputs/");
  if (record.value("gradients", false)) {
    golden.gradients = tensors_under(tensors, case_name + "/gradients/");
  }
  golden.length_dependent = record.at("length_dependent");
  golden.for_each_token = record.at("for_each_token");

  Tensors given = tensors_under(tensors, case_name + "/inputs/");
  ForwardInputs& inputs = golden.inputs;
  take(given, "input_ids", inputs.input_ids);
  take(given, "inputs_embeds", inputs.inputs_embeds);
  take(given, "attention_mask", inputs.attention_mask);
  take(given, "position_ids", inputs.position_ids);
  take(given, "labels", inputs.labels);
  take(given, "start_positions", inputs.start_positions);
  take(given, "end_positions", inputs.end_positions);
  if (!given.empty()) throw std::runtime_error("unknown input " + given.begin()->first);
  inputs.logits_to_keep = record.at("logits_to_keep");
  inputs.output_hidden_states = record.at("hidden_states");
  inputs.output_attentions = record.at("attentions");

  const auto [batch, length] = batch_and_length(inputs);
  golden.comparable.assign(static_cast<std::size_t>(batch * length), true);
  for (const auto& pair : record.at("not_comparable")) {
    const auto row = pair.at(0).get<std::int64_t>() * length + pair.at(1).get<std::int64_t>();
    golden.comparable.at(static_cast<std::size_t>(row)) = false;
  }
  return golden;
}

Tensors named(const ForwardOutput& output) {
  Tensors tensors;
  if (output.logits) tensors.emplace("logits", *output.logits);
  if (output.last_hidden_state) tensors.emplace("last_hidden_state", *output.last_hidden_state);
  if (output.start_logits) tensors.emplace("start_logits", *output.start_logits);
  if (output.end_logits) tensors.emplace("end_logits", *output.end_logits);
  if (output.loss) tensors.emplace("loss", Tensor::from(std::span(&*output.loss, 1), {1}));
  for (std::size_t i = 0; i < output.hidden_states.size(); ++i) {
    tensors.emplace("hidden_states." + std::to_string(i), output.hidden_states[i]);
  }
  for (std::size_t i = 0; i < output.attentions.size(); ++i) {
    tensors.emplace("attentions." + std::to_string(i), output.attentions[i]);
  }
  for (const auto& [name, gradient] : output.gradients) tensors.emplace("grad." + name, gradient);
  return tensors;
}

Tensor slice(const Tensor& tensor, std::size_t axis, std::int64_t begin, std::int64_t end) {
  Shape shape = tensor.shape();
  const std::int64_t size = shape.at(axis);
  shape[axis] = end - begin;
  Tensor result(tensor.dtype(), shape);
  if (result.empty()) return result;
  std::size_t inner = tensor.bytes().size() / static_cast<std::size_t>(tensor.size());
  for (std::size_t i = axis + 1; i < shape.size(); ++i) inner *= static_cast<std::size_t>(shape[i]);
  const std::size_t run = inner * static_cast<std::size_t>(end - begin);
  const std::size_t outer = result.bytes().size() / run;
  for (std::size_t i = 0; i < outer; ++i) {
    const std::size_t from = (i * static_cast<std::size_t>(size) + begin) * inner;
    std::memcpy(result.bytes().data() + i * run, tensor.bytes().data() + from, run);
  }
  return result;
}

ForwardInputs sequence_of(const ForwardInputs& inputs, std::int64_t row) {
  ForwardInputs one = inputs;
  one.labels.reset();
  one.start_positions.reset();
  one.end_positions.reset();
  for (auto* tensor :
       {&one.input_ids, &one.inputs_embeds, &one.attention_mask, &one.position_ids}) {
    if (*tensor) **tensor = slice(**tensor, 0, row, row + 1);
  }
  return one;
}

std::pair<std::int64_t, std::int64_t> batch_and_length(const ForwardInputs& inputs) {
  const Shape& shape = (inputs.input_ids ? inputs.input_ids : inputs.inputs_embeds)->shape();
  return {shape.at(0), shape.at(1)};
}

}  // namespace diffllama::parity
