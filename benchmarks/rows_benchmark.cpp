// What a step of few rows takes: servers, beams and speculation live between one row, whose pace is
// the memory's, and a prompt, whose pace is the processor's. All matrices of a model's layers, as
// many as no cache holds, times 1 to 16 rows and times 512, each in turn; a table of milliseconds
// and of the ratio to max(a step of one row, r times a row of the 512).
//   rows_benchmark [threads [MiB [rounds [format]]]], by default 2, 256, 5 and all formats.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/isa.h"
#include "kernels/matmul.h"
#include "kernels/quantized_panels.h"
#include "tensor/half.h"

namespace {

using diffllama::ActivationRows;
using diffllama::PackedMatrix;
using diffllama::PanelFormat;
using diffllama::Parallel;
using diffllama::ProductType;

constexpr std::array<std::int64_t, 9> kRows = {1, 2, 3, 4, 6, 8, 12, 16, 512};

/// Of a Llama of 0.35 B: the products of one layer, [n, k].
struct Shape {
  std::int64_t n, k;
};
constexpr std::array<Shape, 4> kLayer = {Shape{2048, 1024}, Shape{1024, 1024}, Shape{5632, 1024},
                                         Shape{1024, 2816}};
constexpr std::int64_t kDeepest = 2816;
constexpr std::int64_t kWidest = 5632;

/// A format as a model has it: some of Q4_K_M's matrices are q6_k.
struct Format {
  const char* name;
  std::array<PanelFormat, kLayer.size()> matrices;
  ProductType compute;
};
constexpr std::array<PanelFormat, 4> all(PanelFormat format) {
  return {format, format, format, format};
}
constexpr Format kFormats[] = {
    {"float32", all(PanelFormat::float32), ProductType::float32},
    {"BF16", all(PanelFormat::bfloat16), ProductType::bfloat16},
    {"Q8_0", all(PanelFormat::q8_0), ProductType::bfloat16},
    {"Q4_0", all(PanelFormat::q4_0), ProductType::bfloat16},
    {"Q4_K_M",
     {PanelFormat::q4_k, PanelFormat::q4_k, PanelFormat::q4_k, PanelFormat::q6_k},
     ProductType::bfloat16},
};

std::vector<float> normal(std::int64_t count) {
  std::mt19937 random(1);
  std::normal_distribution<float> values;
  std::vector<float> x(static_cast<std::size_t>(count));
  for (float& value : x) value = values(random);
  return x;
}

PackedMatrix make_plain(PanelFormat format, const Shape& shape, const Parallel& parallel) {
  const auto read_row = [&](std::int64_t row, std::span<float> out) {
    for (std::size_t t = 0; t < out.size(); ++t) {
      out[t] = static_cast<float>((row * 7 + static_cast<std::int64_t>(t)) % 5 - 2);
    }
  };
  return {format, shape.n, shape.k, read_row, parallel};
}

/// One row of blocks again and again, whose scales are 2^-6 where the format has them in float16.
PackedMatrix make_blocks(PanelFormat format, const Shape& shape, const Parallel& parallel) {
  constexpr std::uint16_t kScale = 0x2400;
  const diffllama::QuantLayout layout = diffllama::quant_layout(format);
  const std::size_t size = diffllama::file_block_bytes(format);
  std::vector<std::byte> row(size * static_cast<std::size_t>(shape.k / layout.block_depth()));
  for (std::size_t at = 0; at < row.size(); ++at) row[at] = static_cast<std::byte>(at * 37 >> 2);
  for (std::size_t block = 0; block < row.size(); block += size) {
    const std::size_t first = format == PanelFormat::q6_k ? size - 2 : 0;
    for (std::size_t half = 0; half < static_cast<std::size_t>(layout.halves); ++half) {
      std::memcpy(&row[block + first + 2 * half], &kScale, sizeof(kScale));
    }
  }
  return PackedMatrix::of_blocks(
      format, shape.n, shape.k, [&](std::int64_t) { return std::span<const std::byte>(row); },
      parallel);
}

/// The layers of a model in one format, and rows to multiply.
class Layers {
 public:
  Layers(const Format& format, std::size_t bytes, const Parallel& parallel)
      : format_(format),
        parallel_(parallel),
        x_(normal(kRows.back() * kDeepest)),
        y_(static_cast<std::size_t>(kRows.back() * kWidest)) {
    for (std::size_t used = 0; used < bytes; used += matrices_.back().bytes()) {
      const std::size_t i = matrices_.size() % kLayer.size();
      const auto make = diffllama::is_quantized(format.matrices[i]) ? make_blocks : make_plain;
      matrices_.push_back(make(format.matrices[i], kLayer[i], parallel));
    }
  }

  void multiply(std::int64_t rows) {
    for (std::size_t i = 0; i < matrices_.size(); ++i) {
      multiply(matrices_[i], 0, rows, i + 1 < matrices_.size() ? &matrices_[i + 1] : nullptr);
    }
  }

  /// Whether rows have the same bits together and alone.
  bool valid() {
    for (std::size_t i = 0; i < kLayer.size(); ++i) {
      const PackedMatrix& w = matrices_[i];
      const auto row = [&](std::int64_t at) {
        return std::vector<float>(y_.begin() + at * w.n(), y_.begin() + (at + 1) * w.n());
      };
      for (const std::int64_t rows : kRows) {
        multiply(w, 0, rows, nullptr);
        const std::vector<float> together = row(rows - 1);
        multiply(w, rows - 1, 1, nullptr);
        if (together != row(0)) return false;
      }
    }
    return true;
  }

 private:
  void multiply(const PackedMatrix& w, std::int64_t first, std::int64_t rows,
                const PackedMatrix* next) {
    activations_.assign(x_.data() + first * w.k(), rows, w.k(), w.k(), format_.compute);
    const diffllama::Product product{&w, nullptr, y_.data(), w.n()};
    diffllama::matmul(activations_, {&product, 1}, parallel_, next);
  }

  const Format& format_;
  const Parallel& parallel_;
  std::vector<float> x_, y_;
  std::vector<PackedMatrix> matrices_;
  ActivationRows activations_;
};

double milliseconds(Layers& layers, std::int64_t rows) {
  const auto start = std::chrono::steady_clock::now();
  layers.multiply(rows);
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

/// A line of the table; returns false where bits differ.
bool report(const Format& format, std::size_t bytes, int rounds, const Parallel& parallel) {
  Layers layers(format, bytes, parallel);
  if (!layers.valid()) {
    std::fprintf(stderr, "%s: a row's bits depend on the rows beside it\n", format.name);
    return false;
  }
  std::array<std::vector<double>, kRows.size()> times;
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < kRows.size(); ++i) {
      times[i].push_back(milliseconds(layers, kRows[i]));
    }
  }
  // The best time, which a busy machine disturbs least.
  const auto best = [&](std::size_t i) {
    return *std::min_element(times[i].begin(), times[i].end());
  };
  const double one = best(0);
  const double prompt_row = best(kRows.size() - 1) / static_cast<double>(kRows.back());
  std::printf("| %s |", format.name);
  for (std::size_t i = 0; i + 1 < kRows.size(); ++i) {
    const double time = best(i);
    std::printf(" %.1f (%.2f) |", time,
                time / std::max(one, prompt_row * static_cast<double>(kRows[i])));
  }
  std::printf(" %.2f |\n", prompt_row);
  std::fflush(stdout);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 2;
  const long mebibytes = argc > 2 ? std::atol(argv[2]) : 256;
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 5;
  const std::string only = argc > 4 ? argv[4] : "";
  if (argc > 5 || threads < 1 || mebibytes < 32 || rounds < 1) {
    std::fprintf(stderr, "usage: rows_benchmark [threads [MiB, at least 32 [rounds [format]]]]\n");
    return 2;
  }
  const Parallel parallel(threads);
  std::printf("%s, %d threads: milliseconds (ratio to what is asked for)\n\n| format |",
              std::string(isa_name(diffllama::active_isa())).c_str(), threads);
  for (std::size_t i = 0; i + 1 < kRows.size(); ++i) {
    std::printf(" %td row%s |", kRows[i], kRows[i] == 1 ? "" : "s");
  }
  std::printf(" a row of 512 |\n| --- |");
  for (std::size_t i = 0; i < kRows.size(); ++i) std::printf(" --- |");
  std::printf("\n");
  bool same = true;
  for (const Format& format : kFormats) {
    if (!only.empty() && only != format.name) continue;
    same = report(format, static_cast<std::size_t>(mebibytes) << 20, rounds, parallel) && same;
  }
  return same ? 0 : 1;
}
