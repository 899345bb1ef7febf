#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>

#include "base/parallel.h"
#include "base/text.h"
#include "checkpoint/codec/row_codec.h"
#include "checkpoint/conversion/convert.h"
#include "checkpoint/conversion/quantized_types.h"
#include "config/warnings.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

constexpr std::uint32_t kQuantizationVersion = 2;  // of the block formats, as ggml counts them
constexpr std::int64_t kElementsAtOnce = std::int64_t{1} << 21;

bool is_finite(float value) { return std::isfinite(value); }

// A matrix in another type: bands of rows, the rows of a band in parallel.
class RowEncoder {
 public:
  RowEncoder(const GgufTensor& tensor, DType dtype, const Parallel& parallel)
      : tensor_(tensor),
        dtype_(dtype),
        parallel_(parallel),
        rows_(tensor.stored.view.shape.size() > 1 ? tensor.shape()[0] : 1),
        columns_(tensor.stored.view.shape.back()),
        row_bytes_(static_cast<std::size_t>(columns_) / block_elements(dtype) *
                   block_bytes(dtype)) {}

  void write(const TensorSource::Sink& sink) const {
    const std::int64_t band = std::clamp<std::int64_t>(kElementsAtOnce / columns_, 1, rows_);
    std::vector<std::byte> bytes(static_cast<std::size_t>(band) * row_bytes_);
    std::vector<std::vector<float>> scratch(static_cast<std::size_t>(parallel_.threads()));
    for (std::int64_t begin = 0; begin < rows_; begin += band) {
      const std::int64_t count = std::min(band, rows_ - begin);
      parallel_.run(count, [&](std::int64_t i, int worker) {
        const auto out =
            std::span(bytes).subspan(static_cast<std::size_t>(i) * row_bytes_, row_bytes_);
        encode(begin + i, scratch[static_cast<std::size_t>(worker)], out);
      });
      sink(std::span(bytes).first(static_cast<std::size_t>(count) * row_bytes_));
    }
    Checkpoint::release(tensor_.stored);
  }

 private:
  void encode(std::int64_t row, std::vector<float>& values, std::span<std::byte> out) const {
    values.resize(static_cast<std::size_t>(columns_));
    tensor_.read_row(row, values);
    const auto broken = std::ranges::find_if_not(values, is_finite);
    if (broken != values.end()) {
      refuse("finite weights", std::to_string(*broken) + " in row " + std::to_string(row));
    }
    encode_row(dtype_, values, out);
    if (dtype_ == DType::float32) return;
    const auto [low, high] = std::ranges::minmax(values);
    const float largest = std::max(-low, high);
    decode_row(dtype_, out, values);
    if (!std::ranges::all_of(values, is_finite)) {
      refuse("weights that fit " + std::string(dtype_name(dtype_)),
             std::to_string(largest) + " in row " + std::to_string(row));
    }
  }

  [[noreturn]] void refuse(const std::string& expected, const std::string& found) const {
    throw FormatError(tensor_.stored.where + ": expected " + expected + ", got " + found);
  }

  const GgufTensor& tensor_;
  DType dtype_;
  const Parallel& parallel_;
  std::int64_t rows_, columns_;
  std::size_t row_bytes_;
};

// The same bits, once all of them are known to be finite.
TensorSource checked_copy(const GgufTensor& tensor, const Parallel& parallel) {
  TensorSource copy = unchanged_tensor(tensor);
  if (!is_weight_dtype(tensor.stored.view.dtype) || tensor.stored.view.shape.size() > 2)
    return copy;
  copy.write = [&tensor, &parallel, write = std::move(copy.write)](const TensorSource::Sink& sink) {
    RowEncoder(tensor, DType::float32, parallel).write([](std::span<const std::byte>) {});
    write(sink);
  };
  return copy;
}

TensorSource encoded(const GgufTensor& tensor, DType dtype, const Parallel& parallel) {
  return {tensor.name, dtype, tensor.shape(),
          [&tensor, dtype, &parallel](const TensorSource::Sink& sink) {
            RowEncoder(tensor, dtype, parallel).write(sink);
          }};
}

}  // namespace

void quantize_model(const std::filesystem::path& in, const std::filesystem::path& out,
                    std::string_view type_name, const QuantizeOptions& options) {
  const QuantizedType* type = find_quantized_type(type_name);
  if (type == nullptr) {
    std::string names;
    for (const std::string& name : quantized_types()) names += (names.empty() ? "" : ", ") + name;
    throw InvalidArgument("[quantize] expected a type of " + names + ", got " +
                          shortened(type_name));
  }
  refuse_overwriting_model(out, in, {});
  if (out.extension() != ".gguf") {
    throw InvalidArgument(out.string() + ": expected the name of a .gguf file, got another");
  }
  GgufModel model = open_gguf_model(in, options.warn, {.pad_vocab = options.pad_vocab});
  const TensorTypes types(*type, model);
  const Parallel parallel(options.threads);
  std::vector<TensorSource> tensors = model.rotary;
  bool twice = false;
  for (const GgufTensor& tensor : model.tensors) {
    const DType stored = tensor.stored.view.dtype;
    const DType dtype = types.of(tensor);
    twice = twice || (block_elements(stored) > 1 && dtype != stored);
    tensors.push_back(dtype == stored ? checked_copy(tensor, parallel)
                                      : encoded(tensor, dtype, parallel));
  }
  if (twice) {
    emit_warning(options.warn, in.string() +
                                   ": some tensors are quantised already; their errors add to "
                                   "the new ones");
  }
  model.metadata.set("general.quantization_version", kQuantizationVersion);
  model.metadata.set("general.file_type", type->file_type);
  model.metadata.write(out, with_progress(std::move(tensors), options.progress));
}

}  // namespace diffllama
