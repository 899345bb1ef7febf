#pragma once

#include "diffllama/config.h"
#include "kernels/cpu/vector_math.h"

/// The activations and their derivatives, of one register.
namespace diffllama {

/// 2 sqrt(2/pi) (x + 0.044715 x^3)
template <class V>
inline typename V::Reg gelu_exponent(typename V::Reg x) {
  using Reg = typename V::Reg;
  const Reg cubic = V::fma(V::mul(V::mul(x, x), x), V::set(0.044715F), x);
  return V::mul(cubic, V::set(1.5957691216F));
}

/// x times the sigmoid of that, which is x (1 + tanh(sqrt(2/pi) (...))) / 2 without its
/// cancellation.
template <class V>
inline typename V::Reg gelu_tanh(typename V::Reg x) {
  return V::mul(x, sigmoid<V>(gelu_exponent<V>(x)));
}

template <class V>
inline typename V::Reg activate(Activation activation, typename V::Reg x) {
  switch (activation) {
    case Activation::silu:
      return V::mul(x, sigmoid<V>(x));
    case Activation::gelu:
      return V::mul(x, normal_cdf<V>(x));
    case Activation::gelu_new:
    case Activation::gelu_pytorch_tanh:
    case Activation::gelu_fast:
      return gelu_tanh<V>(x);
    case Activation::quick_gelu:
      return V::mul(x, sigmoid<V>(V::mul(x, V::set(1.702F))));
    case Activation::relu:
      return V::max(V::zero(), x);
    case Activation::relu2: {
      const typename V::Reg positive = V::max(V::zero(), x);
      return V::mul(positive, positive);
    }
    case Activation::tanh:
      return tanh<V>(x);
    case Activation::sigmoid:
      return sigmoid<V>(x);
    case Activation::poly_norm:  // no function of one value: poly_norm()
      break;
  }
  return x;
}

/// Between -limit and limit; NaN stays NaN.
template <class V>
inline typename V::Reg bounded(typename V::Reg x, float limit) {
  return V::max(V::set(-limit), V::min(V::set(limit), x));
}

/// d/dx of x sigmoid(z), where dz is z', for s = sigmoid(z): s (1 + x (1 - s) z'). x is bounded to
/// where s (1 - s) is not 0, so that infinity has its limit.
template <class V>
inline typename V::Reg slope_of_gated_sigmoid(typename V::Reg s, typename V::Reg x,
                                              typename V::Reg dz) {
  const typename V::Reg one = V::set(1.0F);
  return V::mul(s, V::fma(V::mul(x, V::sub(one, s)), dz, one));
}

/// The derivative of activate(); at 0 that of relu is 0, as torch has it.
template <class V>
inline typename V::Reg activation_slope(Activation activation, typename V::Reg x) {
  using Reg = typename V::Reg;
  const Reg one = V::set(1.0F);
  switch (activation) {
    case Activation::silu:
      return slope_of_gated_sigmoid<V>(sigmoid<V>(x), bounded<V>(x, 110.0F), one);
    case Activation::gelu: {
      const NormalDistribution<V> normal = normal_distribution<V>(x);
      return V::fma(bounded<V>(x, 20.0F), normal.density, normal.cdf);
    }
    case Activation::gelu_new:
    case Activation::gelu_pytorch_tanh:
    case Activation::gelu_fast: {
      const Reg near = bounded<V>(x, 20.0F);
      const Reg dz = V::fma(V::mul(near, near), V::set(0.21406445F), V::set(1.5957691216F));
      return slope_of_gated_sigmoid<V>(sigmoid<V>(gelu_exponent<V>(x)), near, dz);
    }
    case Activation::quick_gelu: {
      const Reg z = V::mul(x, V::set(1.702F));
      return slope_of_gated_sigmoid<V>(sigmoid<V>(z), bounded<V>(z, 110.0F), one);
    }
    case Activation::relu: {
      const Reg positive = V::max(V::zero(), x);  // keeps NaN
      return V::select(V::less(V::zero(), positive), one, positive);
    }
    case Activation::relu2:
      return V::mul(V::max(V::zero(), x), V::set(2.0F));
    case Activation::tanh: {
      const Reg e = exp<V>(V::mul(V::abs(x), V::set(-2.0F)));
      const Reg sum = V::add(one, e);
      return V::div(V::mul(e, V::set(4.0F)), V::mul(sum, sum));
    }
    case Activation::sigmoid: {
      const Reg e = exp<V>(V::sub(V::zero(), V::abs(x)));
      const Reg sum = V::add(one, e);
      return V::div(e, V::mul(sum, sum));
    }
    case Activation::poly_norm:
      break;
  }
  return one;
}

/// Calls function<kActivation>(), the forms of gelu that are the same under one name.
template <class Function>
inline void with_activation(Activation activation, const Function& function) {
  switch (activation) {
    case Activation::silu:
      return function.template operator()<Activation::silu>();
    case Activation::gelu:
      return function.template operator()<Activation::gelu>();
    case Activation::gelu_new:
    case Activation::gelu_pytorch_tanh:
    case Activation::gelu_fast:
      return function.template operator()<Activation::gelu_new>();
    case Activation::quick_gelu:
      return function.template operator()<Activation::quick_gelu>();
    case Activation::relu:
      return function.template operator()<Activation::relu>();
    case Activation::relu2:
      return function.template operator()<Activation::relu2>();
    case Activation::tanh:
      return function.template operator()<Activation::tanh>();
    case Activation::sigmoid:
      return function.template operator()<Activation::sigmoid>();
    case Activation::poly_norm:
      return;
  }
}

}  // namespace diffllama
