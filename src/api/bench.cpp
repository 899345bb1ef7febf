#include "tasks/bench.h"

#include "api/model.h"
#include "tasks/parallel_bench.h"

namespace diffllama {

std::vector<BenchResult> bench(const Model& model, const BenchOptions& options) {
  const ForwardModel forward = model.impl().forward_model();
  return bench(forward, model.impl().parallel, options);
}

std::vector<ParallelBenchResult> parallel_bench(const Model& model,
                                                const ParallelBenchOptions& options) {
  const ForwardModel forward = model.impl().forward_model();
  return parallel_bench(forward, model.impl().parallel, options);
}

}  // namespace diffllama
