#include "diffllama/perplexity.h"

#include <cmath>
#include <utility>

#include "api/model.h"
#include "tasks/perplexity_sum.h"

namespace diffllama {

struct [[gnu::visibility("hidden")]] Perplexity::Impl {
  Impl(const Model& of, const PerplexityOptions& options)
      : model(of.impl().forward_model()), sum(model, of.impl().parallel, options.stride) {}

  ForwardModel model;
  PerplexitySum sum;
};

Perplexity::Perplexity(const Model& model, const PerplexityOptions& options)
    : impl_(std::make_unique<Impl>(model, options)) {}
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

std::vector<Perplexity::Result> Perplexity::documents() {
  std::vector<Result> results;
  for (const PerplexitySum::Sum& sum : impl_->sum.take_documents()) {
    const double mean = sum.negative_log_likelihood / static_cast<double>(sum.tokens);
    results.push_back({.perplexity = std::exp(mean),
                       .negative_log_likelihood = mean,
                       .tokens = sum.tokens,
                       .documents = 1});
  }
  return results;
}

}  // namespace diffllama
