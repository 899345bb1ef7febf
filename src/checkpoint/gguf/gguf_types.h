#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "checkpoint/gguf/gguf.h"
#include "diffllama/tensor.h"

namespace diffllama {

/// "uint32", "string", ...; "unknown type 13" for a number that the format does not give.
std::string gguf_type_name(GgufType type);
/// Bytes of one value; 0 for strings, arrays and unknown types.
std::size_t gguf_type_bytes(GgufType type);

bool is_gguf_integer(GgufType type);
bool is_gguf_float(GgufType type);
/// A value of an integer type at `bytes`; nothing past 2^63-1.
std::optional<std::int64_t> gguf_integer(GgufType type, const std::byte* bytes);
/// A value of a float type at `bytes`.
double gguf_number(GgufType type, const std::byte* bytes);

/// The type of a tensor by its number in the file; nothing for those that this engine does not
/// read.
std::optional<DType> gguf_tensor_dtype(std::uint32_t type);
/// The number of a type in the file; nothing for those that GGUF files do not hold here.
std::optional<std::uint32_t> gguf_tensor_type(DType dtype);
/// "F32, F16, ...": the types that are read.
std::string gguf_tensor_type_list();
/// "Q4_K", or "unknown type 99".
std::string gguf_tensor_type_name(std::uint32_t type);

}  // namespace diffllama
