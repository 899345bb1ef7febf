#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>
#include <vector>

#include "bindings.h"

namespace diffllama::python {
namespace {

using Array = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using Code = nb::dlpack::dtype_code;

float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000U) << 16;
  const std::uint32_t exponent = (half >> 10) & 31U;
  const std::uint32_t fraction = half & 1023U;
  if (exponent == 0) {  // zero and subnormal numbers
    const float value = static_cast<float>(fraction) * 0x1p-24F;
    return sign == 0 ? value : -value;
  }
  const std::uint32_t wide = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

float bfloat16_to_float(std::uint16_t value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16);
}

template <class Out, class In>
void convert_as(const Array& array, std::span<Out> out) {
  const auto* data = static_cast<const In*>(array.data());
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<Out>(data[i]);
}

// The elements of an array of integers or booleans; false for another type.
template <class Out>
bool convert_integers(const Array& array, std::span<Out> out) {
  const auto code = static_cast<Code>(array.dtype().code);
  const unsigned bits = array.dtype().bits;
  const bool is_signed = code == Code::Int;
  if (!is_signed && code != Code::UInt && code != Code::Bool) return false;
  if (bits == 8) {
    is_signed ? convert_as<Out, std::int8_t>(array, out)
              : convert_as<Out, std::uint8_t>(array, out);
  } else if (bits == 16) {
    is_signed ? convert_as<Out, std::int16_t>(array, out)
              : convert_as<Out, std::uint16_t>(array, out);
  } else if (bits == 32) {
    is_signed ? convert_as<Out, std::int32_t>(array, out)
              : convert_as<Out, std::uint32_t>(array, out);
  } else if (bits == 64) {
    is_signed ? convert_as<Out, std::int64_t>(array, out)
              : convert_as<Out, std::uint64_t>(array, out);
  } else {
    return false;
  }
  return true;
}

bool convert_floats(const Array& array, std::span<float> out) {
  const auto code = static_cast<Code>(array.dtype().code);
  const unsigned bits = array.dtype().bits;
  const auto* halves = static_cast<const std::uint16_t*>(array.data());
  if (code == Code::Bfloat && bits == 16) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = bfloat16_to_float(halves[i]);
  } else if (code == Code::Float && bits == 16) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = half_to_float(halves[i]);
  } else if (code == Code::Float && bits == 32) {
    convert_as<float, float>(array, out);
  } else if (code == Code::Float && bits == 64) {
    convert_as<float, double>(array, out);
  } else {
    return convert_integers(array, out);
  }
  return true;
}

bool is_floating(const Array& array) {
  const auto code = static_cast<Code>(array.dtype().code);
  return code == Code::Float || code == Code::Bfloat;
}

// "numpy.ndarray of float64", "str".
std::string kind_of(nb::handle object) {
  const nb::handle type = object.type();
  const auto module = nb::cast<std::string>(nb::str(nb::getattr(type, "__module__")));
  std::string kind = module == "builtins" ? "" : module + ".";
  kind += nb::cast<std::string>(nb::str(nb::getattr(type, "__name__")));
  if (nb::hasattr(object, "dtype")) {
    kind += " of " + nb::cast<std::string>(nb::str(nb::getattr(object, "dtype")));
  }
  return kind;
}

// The array's own memory, kept alive by the tensor.
Tensor borrow(Array array, DType dtype, Shape shape) {
  const auto* data = static_cast<const std::byte*>(array.data());
  const std::size_t bytes = array.nbytes();
  const std::shared_ptr<Array> owner(new Array(std::move(array)), [](Array* held) {
    const nb::gil_scoped_acquire gil;
    delete held;
  });
  return Tensor::borrow({dtype, std::move(shape), {data, bytes}}, owner);
}

}  // namespace

std::optional<Tensor> to_tensor(nb::handle object, const char* name, std::optional<DType> dtype) {
  if (object.is_none()) return std::nullopt;
  Array array;
  if (!nb::try_cast(object, array)) {
    throw InvalidArgument(std::string(name) +
                          ": expected an array of numbers in the processor's memory (numpy, torch, "
                          "or anything with DLPack), got " +
                          kind_of(object));
  }
  const DType wanted = dtype.value_or(is_floating(array) ? DType::float32 : DType::int64);
  Shape shape;
  for (std::size_t i = 0; i < array.ndim(); ++i) {
    shape.push_back(static_cast<std::int64_t>(array.shape(i)));
  }
  const auto code = static_cast<Code>(array.dtype().code);
  const bool same = wanted == DType::int64 ? code == Code::Int && array.dtype().bits == 64
                                           : code == Code::Float && array.dtype().bits == 32;
  const bool aligned = reinterpret_cast<std::uintptr_t>(array.data()) % 8 == 0;
  if (same && aligned) return borrow(std::move(array), wanted, std::move(shape));
  Tensor tensor(wanted, std::move(shape));
  const bool done = wanted == DType::int64 ? convert_integers(array, tensor.i64())
                                           : convert_floats(array, tensor.f32());
  if (!done) {
    throw InvalidArgument(std::string(name) + ": expected " +
                          (wanted == DType::int64 ? "integers" : "numbers") + ", got " +
                          kind_of(object));
  }
  if (wanted == DType::int64 && code == Code::UInt && array.dtype().bits == 64 &&
      std::ranges::any_of(std::as_const(tensor).i64(), [](std::int64_t v) { return v < 0; })) {
    throw InvalidArgument(std::string(name) + ": expected integers below 2^63, got a larger one");
  }
  return tensor;
}

nb::object to_numpy(Tensor tensor) {
  auto owned = std::make_unique<Tensor>(std::move(tensor));
  const bool integers = owned->dtype() == DType::int64;
  std::vector<std::size_t> shape(owned->shape().begin(), owned->shape().end());
  void* data = owned->bytes().data();
  const std::size_t rank = shape.size();
  const nb::capsule owner(owned.release(),
                          [](void* held) noexcept { delete static_cast<Tensor*>(held); });
  const auto dtype = integers ? nb::dtype<std::int64_t>() : nb::dtype<float>();
  return nb::cast(nb::ndarray<nb::numpy>(data, rank, shape.data(), owner, nullptr, dtype,
                                         nb::device::cpu::value, 0, 'C'));
}

}  // namespace diffllama::python
