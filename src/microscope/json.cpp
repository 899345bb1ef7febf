#include "microscope/json.h"

#include <algorithm>
#include <string>
#include <utility>

namespace diffllama {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const AttentionShare& share) {
  return {{"answer", share.answer}, {"bos", share.bos}, {"rest", share.rest}};
}

Json to_json(const MapMeasures& measures) {
  return {{"last_token", to_json(measures.last_token)},
          {"after_answer", to_json(measures.after_answer)},
          {"entropy", measures.entropy},
          {"negative_mass", measures.negative_mass}};
}

Json to_json(const AttentionMeasures& measures, bool two) {
  Json json;
  if (two) json["lambda"] = measures.lambda;
  json["first"] = to_json(measures.first);
  if (two) json["second"] = to_json(measures.second);
  json["difference"] = to_json(measures.difference);
  return json;
}

Json to_json(const LargestValues& values) {
  return {{"top_1", values.top_1},   {"top_2", values.top_2},     {"top_3", values.top_3},
          {"top_10", values.top_10}, {"top_100", values.top_100}, {"median", values.median}};
}

// A number where lambda is one for all tokens.
Json lambda_json(const std::vector<float>& lambda) {
  const bool same = std::ranges::adjacent_find(lambda, std::ranges::not_equal_to()) == lambda.end();
  return same ? Json(lambda.front()) : Json(lambda);
}

Json map_json(const Tensor& map) {
  const std::int64_t tokens = map.shape()[0];
  Json rows = Json::array();
  for (std::int64_t row = 0; row < tokens; ++row) {
    const auto first = map.f32().begin() + row * tokens;
    rows.push_back(std::vector<float>(first, first + tokens));
  }
  return rows;
}

void add_maps(const AttentionHead& head, std::int64_t reads, Json& json) {
  json["maps"]["first"] = map_json(head.first);
  const bool two = !head.second.empty();
  if (two) {
    json["maps"]["second"] = map_json(head.second);
    json["maps"]["difference"] = map_json(head.difference);
  }
  json["reads"] = Json::array();
  for (std::int64_t token = 0; token < head.first.shape()[0]; ++token) {
    const auto of = [&](const Tensor& map) {
      Json list = Json::array();
      for (const auto& [key, weight] : top_reads(map, token, reads)) list.push_back({key, weight});
      return list;
    };
    json["reads"].push_back({{"with_subtraction", of(two ? head.difference : head.first)},
                             {"without_subtraction", of(head.first)}});
  }
}

}  // namespace

Json report_json(const AttentionReport& report, std::optional<std::int64_t> reads) {
  const bool two = report.maps == 2;
  Json json = {
      {"architecture", report.architecture}, {"ids", report.ids}, {"tokens", report.tokens}};
  if (report.answer) {
    json["answer"] = {{"begin", report.answer->begin}, {"end", report.answer->end}};
  } else {
    json["answer"] = nullptr;
  }
  json["maps"] = report.maps;
  json["mean"] = to_json(report.mean, two);
  json["attention_logits"] = to_json(report.attention_logits);
  json["hidden_states"] = to_json(report.hidden_states);
  json["layers"] = Json::array();
  for (std::size_t number = 0; number < report.layers.size(); ++number) {
    const AttentionLayer& layer = report.layers[number];
    Json heads = Json::array();
    for (std::size_t i = 0; i < layer.heads.size(); ++i) {
      const AttentionHead& head = layer.heads[i];
      Json of_head = {{"head", i}, {"query_heads", head.query_heads}};
      if (two) of_head["lambda"] = lambda_json(head.lambda);
      if (head.dex_lambda) of_head["dex_lambda"] = *head.dex_lambda;
      of_head["measures"] = to_json(head.measures, two);
      if (reads && !head.first.empty()) add_maps(head, *reads, of_head);
      heads.push_back(std::move(of_head));
    }
    json["layers"].push_back({{"layer", number},
                              {"mean", to_json(layer.mean, two)},
                              {"attention_logits", to_json(layer.attention_logits)},
                              {"hidden_states", to_json(layer.hidden_states)},
                              {"heads", std::move(heads)}});
  }
  return json;
}

std::string to_json(const AttentionReport& report, std::int64_t reads) {
  return report_json(report, reads).dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace diffllama
