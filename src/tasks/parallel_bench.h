#pragma once

#include <vector>

#include "base/parallel.h"
#include "diffllama/bench.h"
#include "model/forward.h"

namespace diffllama {

/// parallel_bench() of a model in parts.
std::vector<ParallelBenchResult> parallel_bench(const ForwardModel& model, const Parallel& parallel,
                                                const ParallelBenchOptions& options);

}  // namespace diffllama
