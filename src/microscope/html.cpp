#include <cstdint>
#include <string>
#include <string_view>

#include "base/base64.h"
#include "diffllama/error.h"
#include "microscope/json.h"
#include "microscope/page.h"
#include "tensor/half.h"

namespace diffllama {
namespace {

// What browsers open without complaint.
constexpr std::int64_t kMostBytes = std::int64_t{256} << 20;

// The lower triangle row by row as float16, the lower byte first.
void append_triangle(const Tensor& map, std::string& bytes) {
  const std::int64_t tokens = map.shape()[0];
  for (std::int64_t row = 0; row < tokens; ++row) {
    for (std::int64_t column = 0; column <= row; ++column) {
      const std::uint16_t half =
          float_to_float16(map.f32()[static_cast<std::size_t>(row * tokens + column)]);
      bytes.push_back(static_cast<char>(half & 0xFFU));
      bytes.push_back(static_cast<char>(half >> 8));
    }
  }
}

// Bytes of base64 text of all maps that were kept.
std::int64_t size_of_maps(const AttentionReport& report) {
  const auto tokens = static_cast<std::int64_t>(report.ids.size());
  std::int64_t heads = 0;
  for (const AttentionLayer& layer : report.layers) {
    for (const AttentionHead& head : layer.heads) heads += head.first.empty() ? 0 : 1;
  }
  return heads * report.maps * tokens * (tokens + 1) / 3 * 4;
}

}  // namespace

std::string to_html(const AttentionReport& report) {
  const std::int64_t size = size_of_maps(report);
  if (size == 0) throw InvalidArgument("expected a report with maps, got one without");
  if (size > kMostBytes) {
    throw InvalidArgument("expected maps of at most 256 MiB in a page, got " +
                          std::to_string(size >> 20) + " MiB: choose a layer or a head");
  }
  std::string json =
      report_json(report).dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  for (std::size_t at = 0; (at = json.find('<', at)) != std::string::npos;) {
    json.replace(at, 1, "\\u003c");  // no token may end the script that holds it
  }
  std::string data = R"(<script type="application/json" id="report">)" + json + "</script>\n";
  for (std::size_t layer = 0; layer < report.layers.size(); ++layer) {
    for (std::size_t head = 0; head < report.layers[layer].heads.size(); ++head) {
      const AttentionHead& of = report.layers[layer].heads[head];
      if (of.first.empty()) continue;
      std::string bytes;
      append_triangle(of.first, bytes);
      if (!of.second.empty()) append_triangle(of.second, bytes);
      data += R"(<script type="application/octet-stream" id="maps-)" + std::to_string(layer) + "-" +
              std::to_string(head) + "\">" + encode_base64(bytes) + "</script>\n";
    }
  }
  constexpr std::string_view kPlace = "<!--data-->\n";
  std::string page(kMicroscopePage);
  return page.replace(page.find(kPlace), kPlace.size(), data);
}

}  // namespace diffllama
