#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "checkpoint/row_codec.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/safetensors_dtype.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

// Place in kSafetensorsDTypes, which is the order in the file.
std::size_t dtype_rank(const TensorSource& tensor) {
  const auto* const found = std::ranges::find(kSafetensorsDTypes, tensor.dtype,
                                              [](const auto& item) { return item.first; });
  if (found == kSafetensorsDTypes.end()) {
    throw InvalidArgument("[write_safetensors] tensor " + tensor.name + ": expected a dtype of " +
                          safetensors_dtype_list() + ", got " +
                          std::string(dtype_name(tensor.dtype)));
  }
  return static_cast<std::size_t>(found - kSafetensorsDTypes.begin());
}

std::uint64_t byte_count(const TensorSource& tensor) {
  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(static_cast<std::uint64_t>(element_count(tensor.shape)),
                             std::uint64_t{block_bytes(tensor.dtype)}, &bytes)) {
    throw InvalidArgument("[write_safetensors] tensor " + tensor.name +
                          ": expected fewer bytes than 2^64, got shape " + to_string(tensor.shape));
  }
  return bytes;
}

std::string header_text(const std::vector<TensorSource>& tensors) {
  std::string header = R"({"__metadata__":{"format":"pt"})";
  std::uint64_t position = 0;
  for (const TensorSource& tensor : tensors) {
    const std::uint64_t end = position + byte_count(tensor);
    header += ',';
    header += nlohmann::json(tensor.name).dump();
    header += R"(:{"dtype":")";
    header += kSafetensorsDTypes[dtype_rank(tensor)].second;
    header += R"(","shape":)";
    header += nlohmann::json(tensor.shape).dump();
    header += R"(,"data_offsets":)";
    header += nlohmann::json({position, end}).dump();
    header += '}';
    position = end;
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return header;
}

}  // namespace

TensorSource copied_tensor(std::string name, const TensorView& view) {
  return {std::move(name), view.dtype, view.shape,
          [bytes = view.bytes](const TensorSource::Sink& sink) { sink(bytes); }};
}

TensorSource rounded_tensor(std::string name, DType dtype, Shape shape,
                            std::function<void(std::int64_t row, std::span<float> out)> read_row) {
  const std::int64_t columns = shape.empty() ? 1 : shape.back();
  const std::int64_t rows = columns == 0 ? 0 : element_count(shape) / columns;
  auto write = [=, read_row = std::move(read_row)](const TensorSource::Sink& sink) {
    std::vector<float> values(static_cast<std::size_t>(columns));
    std::vector<std::byte> bytes(values.size() * block_bytes(dtype));
    for (std::int64_t row = 0; row < rows; ++row) {
      read_row(row, values);
      encode_row(dtype, values, bytes);
      sink(bytes);
    }
  };
  return {std::move(name), dtype, std::move(shape), std::move(write)};
}

void write_safetensors(const std::filesystem::path& path, std::vector<TensorSource> tensors) {
  std::ranges::sort(tensors, {}, [](const TensorSource& tensor) {
    return std::pair<std::size_t, const std::string&>(dtype_rank(tensor), tensor.name);
  });
  std::vector<std::string_view> names;
  names.reserve(tensors.size());
  for (const TensorSource& tensor : tensors) names.push_back(tensor.name);
  std::ranges::sort(names);
  const auto twice = std::ranges::adjacent_find(names);
  if (twice != names.end() || std::ranges::binary_search(names, "__metadata__")) {
    throw InvalidArgument(
        "[write_safetensors] expected each name once and none __metadata__, got " +
        std::string(twice != names.end() ? *twice : "__metadata__"));
  }

  AtomicFile file(path);
  const std::string header = header_text(tensors);
  const std::uint64_t header_bytes = header.size();
  file.write(std::as_bytes(std::span(&header_bytes, 1)));
  file.write(header);
  for (const TensorSource& tensor : tensors) {
    std::uint64_t written = 0;
    tensor.write([&](std::span<const std::byte> bytes) {
      file.write(bytes);
      written += bytes.size();
    });
    if (written != byte_count(tensor)) {
      throw InvalidArgument("[write_safetensors] tensor " + tensor.name + ": expected " +
                            std::to_string(byte_count(tensor)) + " bytes, got " +
                            std::to_string(written));
    }
  }
  file.commit();
}

}  // namespace diffllama
