#include "microscope/report.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "diffllama/error.h"
#include "microscope/capture.h"
#include "microscope/measures.h"

namespace diffllama {
namespace {

void check_index(const char* name, const std::optional<std::int64_t>& index, std::int64_t count) {
  if (index && (*index < 0 || *index >= count)) {
    throw InvalidArgument("[" + std::string(name) + "] expected 0.." + std::to_string(count - 1) +
                          ", got " + std::to_string(*index));
  }
}

void check(const MicroscopeOptions& options, const ForwardModel& model, std::int64_t tokens) {
  check_index("layer", options.layer, model.config.num_hidden_layers);
  check_index("head", options.head, model.stack.geometry().output_heads());
  if (!options.answer) return;
  const auto [begin, end] = *options.answer;
  if (begin < 0 || begin >= end || end > tokens) {
    throw InvalidArgument("[answer] expected tokens BEGIN:END of 0:" + std::to_string(tokens) +
                          ", at least one, got " + std::to_string(begin) + ":" +
                          std::to_string(end));
  }
}

// Makes a report of the layers as they are shown.
class ReportMaker {
 public:
  ReportMaker(const ForwardModel& model, std::span<const std::int64_t> ids,
              const MicroscopeOptions& options)
      : model_(model),
        geometry_(model.stack.geometry()),
        options_(options),
        tokens_(static_cast<std::int64_t>(ids.size())) {
    report_.architecture = model.config.class_name();
    report_.ids.assign(ids.begin(), ids.end());
    report_.answer = options.answer;
    report_.maps = geometry_.maps;
  }

  void add(const CapturedLayer& captured, const Parallel& parallel);
  AttentionReport finish();

 private:
  AttentionHead look_at(const CapturedLayer& captured, std::int64_t number) const;
  void add_lambda(const CapturedLayer& captured, std::int64_t number, AttentionHead& head) const;
  Tensor map_of(const CapturedLayer& captured, std::int64_t query_head) const;
  Tensor difference_of(const AttentionHead& head, bool by_token) const;
  std::vector<float> visible_logits(const Tensor& logits) const;

  const ForwardModel& model_;
  const AttentionGeometry& geometry_;
  const MicroscopeOptions& options_;
  std::int64_t tokens_;
  AttentionReport report_;
  std::vector<float> logits_, hidden_states_;  // of all layers
};

void ReportMaker::add(const CapturedLayer& captured, const Parallel& parallel) {
  AttentionLayer layer;
  layer.heads.resize(static_cast<std::size_t>(geometry_.output_heads()));
  parallel.run(geometry_.output_heads(), [&](std::int64_t number, int) {
    layer.heads[static_cast<std::size_t>(number)] = look_at(captured, number);
  });
  std::vector<AttentionMeasures> measures;
  for (const AttentionHead& head : layer.heads) measures.push_back(head.measures);
  const DexWeights& dex = model_.weights.layers[static_cast<std::size_t>(captured.number)].dex;
  for (std::size_t i = 0; i < dex.heads.size(); ++i) {
    layer.heads[static_cast<std::size_t>(dex.heads[i])].dex_lambda = dex.lambda[i];
  }
  layer.mean = mean_of(measures);
  std::vector<float> logits = visible_logits(captured.logits);
  std::vector<float> states(captured.output.begin(), captured.output.end());
  logits_.insert(logits_.end(), logits.begin(), logits.end());
  hidden_states_.insert(hidden_states_.end(), states.begin(), states.end());
  layer.attention_logits = largest_values(logits);
  layer.hidden_states = largest_values(states);
  report_.layers.push_back(std::move(layer));
}

AttentionHead ReportMaker::look_at(const CapturedLayer& captured, std::int64_t number) const {
  AttentionHead head;
  for (std::int64_t map = 0; map < geometry_.maps; ++map) {
    head.query_heads.push_back(geometry_.query_of(number, map));
  }
  AttentionMeasures& measures = head.measures;
  head.first = map_of(captured, head.query_heads[0]);
  measures.first = measure_map(head.first.f32(), tokens_, options_.answer);
  measures.difference = measures.first;
  if (geometry_.maps == 2) {
    head.second = map_of(captured, head.query_heads[1]);
    add_lambda(captured, number, head);
    head.difference = difference_of(head, !captured.lambdas.empty());
    measures.second = measure_map(head.second.f32(), tokens_, options_.answer);
    measures.difference = measure_map(head.difference.f32(), tokens_, options_.answer);
  }
  const bool kept = options_.keep_maps &&
                    options_.layer.value_or(captured.number) == captured.number &&
                    options_.head.value_or(number) == number;
  if (!kept) head.first = head.second = head.difference = Tensor();
  return head;
}

void ReportMaker::add_lambda(const CapturedLayer& captured, std::int64_t number,
                             AttentionHead& head) const {
  double sum = 0;
  for (std::int64_t token = 0; token < tokens_; ++token) {
    const auto place = static_cast<std::size_t>(token * geometry_.output_heads() + number);
    head.lambda.push_back(captured.lambdas.empty() ? captured.lambda : captured.lambdas[place]);
    sum += head.lambda.back();
  }
  head.measures.lambda = sum / static_cast<double>(tokens_);
}

Tensor ReportMaker::map_of(const CapturedLayer& captured, std::int64_t query_head) const {
  const auto size = static_cast<std::size_t>(tokens_ * tokens_);
  return Tensor::from(
      captured.maps.f32().subspan(static_cast<std::size_t>(query_head) * size, size),
      {tokens_, tokens_});
}

// A1 - lambda A2, its second product fused or rounded as attention() has it in float32.
Tensor ReportMaker::difference_of(const AttentionHead& head, bool by_token) const {
  Tensor difference(DType::float32, {tokens_, tokens_});
  const std::span<float> out = difference.f32();
  for (std::size_t i = 0; i < out.size(); ++i) {
    const float lambda = head.lambda[i / static_cast<std::size_t>(tokens_)];
    const float first = head.first.f32()[i];
    const float second = head.second.f32()[i];
    out[i] = by_token ? first - lambda * second : std::fma(-lambda, second, first);
  }
  return difference;
}

std::vector<float> ReportMaker::visible_logits(const Tensor& logits) const {
  std::vector<float> values;
  values.reserve(static_cast<std::size_t>(logits.size() / 2 + logits.size() / tokens_));
  const std::int64_t rows = logits.size() / tokens_;
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto first = logits.f32().begin() + row * tokens_;
    values.insert(values.end(), first, first + row % tokens_ + 1);
  }
  return values;
}

AttentionReport ReportMaker::finish() {
  std::vector<AttentionMeasures> measures;
  for (const AttentionLayer& layer : report_.layers) measures.push_back(layer.mean);
  report_.mean = mean_of(measures);
  report_.attention_logits = largest_values(logits_);
  report_.hidden_states = largest_values(hidden_states_);
  return std::move(report_);
}

}  // namespace

AttentionReport make_attention_report(const ForwardModel& model, std::span<const std::int64_t> ids,
                                      const MicroscopeOptions& options, const Parallel& parallel) {
  check(options, model, static_cast<std::int64_t>(ids.size()));
  ReportMaker maker(model, ids, options);
  capture_layers(model, ids, parallel,
                 [&](const CapturedLayer& layer) { maker.add(layer, parallel); });
  return maker.finish();
}

const AttentionHead& kept_head(const AttentionReport& report, std::int64_t layer,
                               std::int64_t head) {
  if (layer >= 0 && layer < std::ssize(report.layers)) {
    const auto& heads = report.layers[static_cast<std::size_t>(layer)].heads;
    if (head >= 0 && head < std::ssize(heads) &&
        !heads[static_cast<std::size_t>(head)].first.empty()) {
      return heads[static_cast<std::size_t>(head)];
    }
  }
  throw InvalidArgument("expected a layer and head whose maps were kept, got layer " +
                        std::to_string(layer) + ", head " + std::to_string(head));
}

std::vector<std::pair<std::int64_t, float>> top_reads(const Tensor& map, std::int64_t token,
                                                      std::int64_t count) {
  if (map.shape().size() != 2 || token < 0 || token >= map.shape()[0] || count < 0) {
    throw InvalidArgument("expected a token of a map [T, T], got token " + std::to_string(token) +
                          " of " + to_string(map.shape()));
  }
  const std::int64_t keys = map.shape()[1];
  std::vector<std::pair<std::int64_t, float>> reads;
  for (std::int64_t key = 0; key < keys; ++key) {
    const float weight = map.f32()[static_cast<std::size_t>(token * keys + key)];
    if (weight > 0) reads.emplace_back(key, weight);
  }
  std::ranges::stable_sort(reads, [](const auto& a, const auto& b) { return a.second > b.second; });
  if (std::ssize(reads) > count) reads.resize(static_cast<std::size_t>(count));
  return reads;
}

std::map<std::string, Tensor> to_tensors(const AttentionReport& report) {
  std::map<std::string, Tensor> tensors;
  const auto tokens = static_cast<std::int64_t>(report.ids.size());
  tensors["input_ids"] = Tensor::from(std::span<const std::int64_t>(report.ids), {1, tokens});
  for (std::size_t layer = 0; layer < report.layers.size(); ++layer) {
    for (std::size_t number = 0; number < report.layers[layer].heads.size(); ++number) {
      const AttentionHead& head = report.layers[layer].heads[number];
      if (head.first.empty()) continue;
      const std::string name =
          "layers." + std::to_string(layer) + ".heads." + std::to_string(number) + ".";
      tensors[name + "first"] = head.first;
      if (head.second.empty()) continue;
      tensors[name + "second"] = head.second;
      tensors[name + "difference"] = head.difference;
      tensors[name + "lambda"] = Tensor::from(std::span<const float>(head.lambda), {tokens});
    }
  }
  return tensors;
}

TokenSpan find_answer(std::string_view text, std::string_view answer, const Encoding& encoding) {
  const std::size_t begin = answer.empty() ? std::string_view::npos : text.find(answer);
  if (begin == std::string_view::npos) {
    throw InvalidArgument("[answer] expected words of the text, got \"" + std::string(answer) +
                          "\"");
  }
  const std::size_t end = begin + answer.size();
  std::optional<TokenSpan> span;
  for (std::size_t i = 0; i < encoding.offsets.size(); ++i) {
    const TokenOffset& offset = encoding.offsets[i];
    if (offset.begin >= end || offset.end <= begin || offset.begin == offset.end) continue;
    const auto token = static_cast<std::int64_t>(i);
    if (!span) span = TokenSpan{token, token};
    span->end = token + 1;
  }
  if (!span) throw InvalidArgument("[answer] expected words that become tokens, got blanks");
  return *span;
}

}  // namespace diffllama
