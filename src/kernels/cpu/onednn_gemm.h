#pragma once

#include <csignal>

#include "kernels/gemm.h"
#include "kernels/isa.h"

namespace diffllama {

/// Keeps oneDNN from stronger instructions than those of `isa`, as far as the process has not used
/// it before.
void limit_onednn(Isa isa);

/// While it lives, what oneDNN creates or runs in this thread stays in it; the caller's number of
/// OpenMP threads is restored after. Signals from outside wait until then: dnnl_sgemm of oneDNN 2.6
/// computes with the stack pointer in a buffer on the heap, and the frame of a signal that came
/// meanwhile would overwrite what lies before it. The first one calls limit_onednn(active_isa()).
class OneDnnInThisThread {
 public:
  OneDnnInThisThread();
  OneDnnInThisThread(const OneDnnInThisThread&) = delete;
  OneDnnInThisThread& operator=(const OneDnnInThisThread&) = delete;
  ~OneDnnInThisThread();

 private:
  int threads_before_;
  sigset_t signals_before_;
};

// One tile of gemm.h in the calling thread, under a OneDnnInThisThread; m, n and k are at least 1.

/// float32 by dnnl_sgemm.
void onednn_float32_tile(const GemmArgs& tile);
/// bfloat16 widened to float32, some of k at a time.
void onednn_widened_tile(const GemmArgs& tile);
/// By a matmul primitive, of which each thread keeps those that it made last. False, and C
/// untouched, where oneDNN has none for `type` but its reference.
bool onednn_matmul_tile(ProductType type, const GemmArgs& tile);

}  // namespace diffllama
