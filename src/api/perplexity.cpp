#include "diffllama/perplexity.h"

#include <utility>

#include "api/model.h"
#include "tasks/perplexity_sum.h"

namespace diffllama {

struct [[gnu::visibility("hidden")]] Perplexity::Impl {
  explicit Impl(const Model& of)
      : model(of.impl().forward_model()), sum(model, of.impl().parallel) {}

  ForwardModel model;
  PerplexitySum sum;
};

Perplexity::Perplexity(const Model& model) : impl_(std::make_unique<Impl>(model)) {}
Perplexity::~Perplexity() = default;
Perplexity::Perplexity(Perplexity&&) noexcept = default;
Perplexity& Perplexity::operator=(Perplexity&&) noexcept = default;

void Perplexity::add(std::span<const std::int64_t> ids) { impl_->sum.add(ids); }

Perplexity::Result Perplexity::result() {
  PerplexitySum& sum = impl_->sum;
  Result result;
  result.perplexity = sum.value();
  result.tokens = sum.tokens();
  result.negative_log_likelihood =
      sum.negative_log_likelihood() / static_cast<double>(result.tokens);
  result.documents = sum.documents();
  return result;
}

}  // namespace diffllama
