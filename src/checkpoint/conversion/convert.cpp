#include "checkpoint/conversion/convert.h"

#include <memory>
#include <system_error>
#include <utility>

#include "checkpoint/conversion/gguf_to_directory.h"
#include "checkpoint/conversion/merged_model.h"
#include "checkpoint/gguf/gguf.h"
#include "checkpoint/gguf/gguf_model.h"
#include "diffllama/error.h"
#include "diffllama/files.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;

void to_gguf(const fs::path& in, const fs::path& out, const ConvertOptions& options) {
  const GgufModel model = open_gguf_model(
      in, options.warn, {.adapter = options.adapter, .pad_vocab = options.pad_vocab});
  std::vector<TensorSource> tensors = model.rotary;
  for (const GgufTensor& tensor : model.tensors) {
    tensors.push_back(unchanged_tensor(tensor, options.expanded));
  }
  model.metadata.write(out, with_progress(std::move(tensors), options.progress),
                       options.part_bytes);
}

}  // namespace

void refuse_overwriting_model(const fs::path& out, const fs::path& in, const fs::path& adapter) {
  refuse_overwriting(out, model_files(in));
  if (!adapter.empty()) refuse_overwriting(out, model_files(adapter));
}

std::vector<TensorSource> with_progress(std::vector<TensorSource> tensors,
                                        const WriteProgress& progress) {
  if (!progress) return tensors;
  std::uint64_t total = 0;
  for (const TensorSource& tensor : tensors) total += byte_count(tensor);
  const auto done = std::make_shared<std::uint64_t>(0);
  for (TensorSource& tensor : tensors) {
    tensor.write = [write = std::move(tensor.write), done, total,
                    progress](const TensorSource::Sink& sink) {
      write([&](std::span<const std::byte> bytes) {
        sink(bytes);
        progress(*done += bytes.size(), total);
      });
    };
  }
  return tensors;
}

void convert_model(const fs::path& in, const fs::path& out, const ConvertOptions& options) {
  refuse_overwriting_model(out, in, options.adapter);
  std::error_code error;
  const bool to_file = out.extension() == ".gguf";
  const bool from_file = fs::exists(in, error) && !fs::is_directory(in, error);
  if (options.adapter.empty() && fs::exists(in, error) && from_file == to_file) {
    throw InvalidArgument(
        out.string() + ": expected " +
        (to_file ? "a directory for a GGUF file" : "a .gguf file for a directory") + ", got " +
        (to_file ? "a .gguf file" : "another name"));
  }
  if (options.pad_vocab && (from_file || !to_file)) {
    throw InvalidArgument(out.string() +
                          ": expected a directory to a .gguf file with --pad-vocab, got another");
  }
  if (options.part_bytes != 0 && !to_file) {
    throw InvalidArgument(out.string() +
                          ": expected a .gguf file with --split-max-size, got another name");
  }
  // Parts for which another number is chosen have other names.
  const auto parts = static_cast<std::int64_t>(gguf_parts_named(in).size());
  if (options.part_bytes != 0 && parts > 0) {
    fs::path prefix = out;
    refuse_overwriting(gguf_part_path(prefix.replace_extension(), 0, parts), {in});
  }
  if (to_file) return to_gguf(in, out, options);
  if (from_file) return write_gguf_as_directory(in, out, options);
  write_merged_directory(in, out, options);
}

}  // namespace diffllama
