#include "checkpoint/codec/row_codec.h"

#include <cassert>
#include <cstring>
#include <string>

#include "checkpoint/codec/block_quantizer.h"
#include "checkpoint/codec/k_blocks.h"
#include "diffllama/error.h"
#include "tensor/half.h"

namespace diffllama {
namespace {

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// [f16 scale][32 int8]: value = scale * quant.
void decode_q8_0(const std::byte* block, float* out) {
  const float scale = float16_to_float(load<std::uint16_t>(block));
  for (int i = 0; i < 32; ++i) {
    out[i] = static_cast<float>(load<std::int8_t>(block + 2 + i)) * scale;
  }
}

// [f16 scale][16 bytes]: byte i holds quants i (low half) and i + 16; value = scale * (quant - 8).
void decode_q4_0(const std::byte* block, float* out) {
  const float scale = float16_to_float(load<std::uint16_t>(block));
  for (int i = 0; i < 16; ++i) {
    const int pair = std::to_integer<int>(block[2 + i]);
    out[i] = scale * static_cast<float>((pair & 15) - 8);
    out[i + 16] = scale * static_cast<float>((pair >> 4) - 8);
  }
}

// [f16 scale][f16 minimum][16 bytes]: as q4_0, value = scale * quant + minimum.
void decode_q4_1(const std::byte* block, float* out) {
  const float scale = float16_to_float(load<std::uint16_t>(block));
  const float minimum = float16_to_float(load<std::uint16_t>(block + 2));
  for (int i = 0; i < 16; ++i) {
    const int pair = std::to_integer<int>(block[4 + i]);
    out[i] = scale * static_cast<float>(pair & 15) + minimum;
    out[i + 16] = scale * static_cast<float>(pair >> 4) + minimum;
  }
}

// Quants of 5 bits: their low halves as in q4_0, bit i of `high` above quant i.
int quant5(const std::byte* quants, std::uint32_t high, int i) {
  const int pair = std::to_integer<int>(quants[i % 16]);
  return (i < 16 ? pair & 15 : pair >> 4) | static_cast<int>((high >> i) & 1U) << 4;
}

// [f16 scale][uint32 high bits][16 bytes]: value = scale * (quant - 16).
void decode_q5_0(const std::byte* block, float* out) {
  const float scale = float16_to_float(load<std::uint16_t>(block));
  const auto high = load<std::uint32_t>(block + 2);
  for (int i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(quant5(block + 6, high, i) - 16);
}

// [f16 scale][f16 minimum][uint32 high bits][16 bytes]: value = scale * quant + minimum.
void decode_q5_1(const std::byte* block, float* out) {
  const float scale = float16_to_float(load<std::uint16_t>(block));
  const float minimum = float16_to_float(load<std::uint16_t>(block + 2));
  const auto high = load<std::uint32_t>(block + 4);
  for (int i = 0; i < 32; ++i) {
    out[i] = scale * static_cast<float>(quant5(block + 8, high, i)) + minimum;
  }
}

}  // namespace

bool is_weight_dtype(DType dtype) {
  switch (dtype) {
    case DType::float32:
    case DType::float16:
    case DType::bfloat16:
    case DType::q8_0:
    case DType::q4_0:
    case DType::q4_1:
    case DType::q5_0:
    case DType::q5_1:
    case DType::q4_k:
    case DType::q5_k:
    case DType::q6_k:
      return true;
    default:
      return false;
  }
}

void decode_row(DType dtype, std::span<const std::byte> bytes, std::span<float> out) {
  const std::size_t elements = block_elements(dtype);
  const std::size_t size = block_bytes(dtype);
  assert(out.size() % elements == 0 && bytes.size() == out.size() / elements * size);
  const std::byte* const in = bytes.data();
  const std::size_t blocks = out.size() / elements;
  switch (dtype) {
    case DType::float32:
      if (!bytes.empty()) std::memcpy(out.data(), in, bytes.size());
      return;
    case DType::float16:
      for (std::size_t i = 0; i < blocks; ++i) {
        out[i] = float16_to_float(load<std::uint16_t>(in + 2 * i));
      }
      return;
    case DType::bfloat16:
      for (std::size_t i = 0; i < blocks; ++i) {
        out[i] = bfloat16_to_float(load<std::uint16_t>(in + 2 * i));
      }
      return;
    case DType::q8_0:
      for (std::size_t i = 0; i < blocks; ++i) decode_q8_0(in + i * size, &out[i * elements]);
      return;
    case DType::q4_0:
      for (std::size_t i = 0; i < blocks; ++i) decode_q4_0(in + i * size, &out[i * elements]);
      return;
    case DType::q4_1:
      for (std::size_t i = 0; i < blocks; ++i) decode_q4_1(in + i * size, &out[i * elements]);
      return;
    case DType::q5_0:
      for (std::size_t i = 0; i < blocks; ++i) decode_q5_0(in + i * size, &out[i * elements]);
      return;
    case DType::q5_1:
      for (std::size_t i = 0; i < blocks; ++i) decode_q5_1(in + i * size, &out[i * elements]);
      return;
    case DType::q4_k:
      for (std::size_t i = 0; i < blocks; ++i) decode_q4_k(in + i * size, &out[i * elements]);
      return;
    case DType::q5_k:
      for (std::size_t i = 0; i < blocks; ++i) decode_q5_k(in + i * size, &out[i * elements]);
      return;
    case DType::q6_k:
      for (std::size_t i = 0; i < blocks; ++i) decode_q6_k(in + i * size, &out[i * elements]);
      return;
    default:
      throw InvalidArgument("[decode_row] expected a type that holds weights, got " +
                            std::string(dtype_name(dtype)));
  }
}

void encode_row(DType dtype, std::span<const float> values, std::span<std::byte> out) {
  const std::size_t elements = block_elements(dtype);
  const std::size_t size = block_bytes(dtype);
  assert(values.size() % elements == 0 && out.size() == values.size() / elements * size);
  const auto quantize = [&](auto quantize_block) {
    for (std::size_t i = 0; i < values.size() / elements; ++i) {
      quantize_block(&values[i * elements], &out[i * size]);
    }
  };
  const auto store = [&](auto convert) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::uint16_t bits = convert(values[i]);
      std::memcpy(out.data() + 2 * i, &bits, sizeof bits);
    }
  };
  switch (dtype) {
    case DType::float32:
      if (!out.empty()) std::memcpy(out.data(), values.data(), out.size());
      return;
    case DType::float16:
      return store(float_to_float16);
    case DType::bfloat16:
      return store(float_to_bfloat16);
    case DType::q8_0:
      return quantize(quantize_q8_0);
    case DType::q4_0:
      return quantize(quantize_q4_0);
    case DType::q4_1:
      return quantize(quantize_q4_1);
    case DType::q5_0:
      return quantize(quantize_q5_0);
    case DType::q5_1:
      return quantize(quantize_q5_1);
    case DType::q4_k:
      return quantize(quantize_q4_k);
    case DType::q5_k:
      return quantize(quantize_q5_k);
    case DType::q6_k:
      return quantize(quantize_q6_k);
    default:
      throw InvalidArgument("[encode_row] expected a type that holds weights, got " +
                            std::string(dtype_name(dtype)));
  }
}

}  // namespace diffllama
