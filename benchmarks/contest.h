#pragma once

#include <benchmark/benchmark.h>
#include <omp.h>

#include <algorithm>

/// Times contest.run_ours() and contest.run_onednn() in turn, so that what else the machine does
/// falls on both alike. Rates and their ratio are of the best time of each, which a busy machine
/// disturbs least. A Contest has both, gigaflops() of one product, and has_onednn(): false times
/// ours alone.
template <class Contest>
void share(benchmark::State& state, Contest& contest) {
  double best_ours = 1e9;
  double best_onednn = 1e9;
  for (auto _ : state) {
    const double start = omp_get_wtime();
    contest.run_ours();
    const double middle = omp_get_wtime();
    if (contest.has_onednn()) contest.run_onednn();
    const double end = omp_get_wtime();
    best_ours = std::min(best_ours, middle - start);
    best_onednn = std::min(best_onednn, end - middle);
  }
  state.counters["ours_GFLOP/s"] = contest.gigaflops() / best_ours;
  if (!contest.has_onednn()) return;
  state.counters["onednn_GFLOP/s"] = contest.gigaflops() / best_onednn;
  state.counters["share"] = best_onednn / best_ours;
}
