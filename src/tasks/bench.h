#pragma once

#include <vector>

#include "base/parallel.h"
#include "diffllama/bench.h"
#include "model/forward.h"

namespace diffllama {

/// bench() of a model in parts.
std::vector<BenchResult> bench(const ForwardModel& model, const Parallel& parallel,
                               const BenchOptions& options);

}  // namespace diffllama
