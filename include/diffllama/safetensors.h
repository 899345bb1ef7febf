#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "diffllama/tensor.h"

namespace [[gnu::visibility("default")]] diffllama {

/// The tensors of a safetensors file by name. They borrow the file's mapped pages, which live as
/// long as one of them; those that the file does not align are copied. Throws IoError, FormatError,
/// also for a tensor of a type that DType lacks.
std::map<std::string, Tensor> load_safetensors(const std::filesystem::path& path);

/// Writes tensors as a safetensors file, atomically, with the bytes that the safetensors library
/// writes for the same tensors. Throws IoError, and InvalidArgument for a block-quantised dtype.
void save_safetensors(const std::filesystem::path& path,
                      const std::map<std::string, TensorView>& tensors);

}  // namespace diffllama
