#include "training/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "base/json.h"
#include "base/regular_file.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

[[noreturn]] void fail(const std::filesystem::path& path, const char* what) {
  throw IoError(path.string() + ": cannot " + what + ": " + std::generic_category().message(errno));
}

// Six digits: what a float32 that was summed in some order is worth.
double short_value(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.6g", value);
  return std::strtod(text.data(), nullptr);
}

template <class Member>
ordered_json list(const std::vector<LayerWatch>& layers, Member LayerWatch::*member) {
  ordered_json values = ordered_json::array();
  for (const LayerWatch& layer : layers)
    values.push_back(short_value(static_cast<double>(layer.*member)));
  return values;
}

/// The last lines that a run which is resumed keeps.
struct Kept {
  std::int64_t step = 0, evaluated_step = 0;
};

bool is_kept(std::string_view line, const Kept& kept) {
  try {
    const json fields = parse_json(line, "metrics");
    if (!fields.is_object() || !fields.contains("step") || !fields["step"].is_number_integer()) {
      return false;
    }
    const std::int64_t last = fields.contains("eval_loss") ? kept.evaluated_step : kept.step;
    return fields["step"].get<std::int64_t>() <= last;
  } catch (const FormatError&) {
    return false;
  }
}

void drop_later_lines(const std::filesystem::path& path, const Kept& kept) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return;
  std::string text;
  bool dropped = false;
  {
    const std::string file = read_file(path);
    std::string_view rest = file;
    while (!rest.empty()) {
      const std::size_t end = rest.find('\n');
      const std::string_view line = rest.substr(0, end);
      if (end != std::string_view::npos && is_kept(line, kept)) {
        text += line;
        text += '\n';
      } else {
        dropped = true;
      }
      rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    }
  }
  if (dropped) write_file_atomically(path, text);
}

// Opens the file for more lines, without those of later steps.
int open_after(const std::filesystem::path& path, const Kept& kept) {
  drop_later_lines(path, kept);
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (file < 0) fail(path, "open");
  return file;
}

}  // namespace

std::string to_json_line(const StepMetrics& metrics) {
  ordered_json line = {{"step", metrics.step},
                       {"epoch", metrics.epoch},
                       {"loss", metrics.loss},
                       {"learning_rate", metrics.learning_rate},
                       {"gradient_norm", metrics.gradient_norm},
                       {"tokens", metrics.tokens},
                       {"tokens_per_second", std::round(metrics.tokens_per_second * 10) / 10}};
  if (metrics.mfu) line["mfu"] = std::round(*metrics.mfu * 1e4) / 1e4;
  if (metrics.skipped) line["skipped"] = true;
  bool differential = false;
  for (const LayerWatch& layer : metrics.layers) differential = differential || layer.rms != 0;
  if (differential) {
    line["lambda"] = list(metrics.layers, &LayerWatch::lambda);
    line["rms"] = list(metrics.layers, &LayerWatch::rms);
    line["smallest_rms"] = list(metrics.layers, &LayerWatch::smallest_rms);
  }
  return line.dump();
}

std::string to_json_line(const EvaluationMetrics& metrics) {
  ordered_json line = {{"step", metrics.step}, {"eval_loss", metrics.loss}};
  for (const Measure& measure : metrics.measures) line["eval_" + measure.name] = measure.value;
  return line.dump();
}

MetricsFile::MetricsFile(std::filesystem::path path, std::int64_t last_step,
                         std::int64_t evaluated_step)
    : path_(std::move(path)),
      file_(open_after(path_, {.step = last_step, .evaluated_step = evaluated_step})) {}

MetricsFile::~MetricsFile() { ::close(file_); }

void MetricsFile::add(std::string_view line) {
  std::string text(line);
  text += '\n';
  std::string_view left = text;
  while (!left.empty()) {
    const ssize_t written = ::write(file_, left.data(), left.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(path_, "write");
    left.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace diffllama
