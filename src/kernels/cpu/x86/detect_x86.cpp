#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/detect.h"

namespace diffllama {
namespace {

struct Registers {
  std::uint32_t a = 0, b = 0, c = 0,
                d = 0;  // eax, ebx, ecx, edx; zero for a leaf that is not there
};

Registers cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d);
  return r;
}

bool bits(std::uint32_t value, std::initializer_list<int> wanted) {
  return std::ranges::all_of(wanted, [&](int bit) { return (value >> bit & 1U) != 0; });
}

// The register state that the operating system saves (XCR0).
std::uint64_t enabled_state() {
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<std::uint64_t>(high) << 32 | low;
}

// Linux hands out the 8 KB of tile state on request only; the permission is the whole process's.
bool request_tiles() {
  constexpr int kArchReqXcompPerm = 0x1023;
  constexpr int kTileData = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kTileData) == 0;
}

}  // namespace

std::vector<Isa> detect_isas() {
  std::vector<Isa> found{Isa::portable};
  const Registers basic = cpuid(1, 0);
  const Registers extended = cpuid(7, 0);
  const Registers more = cpuid(7, 1);
  if (!bits(basic.c, {12, 27, 28, 29})) return found;  // FMA, OSXSAVE, AVX, F16C
  const std::uint64_t state = enabled_state();
  constexpr std::uint64_t kYmm = 0x6;
  constexpr std::uint64_t kZmm = 0xe6;
  constexpr std::uint64_t kTiles = 0x60000;
  if ((state & kYmm) != kYmm || !bits(extended.b, {5})) return found;  // AVX2
  found.push_back(Isa::avx2);
  if (bits(more.a, {4})) found.push_back(Isa::avx_vnni);                // AVX-VNNI
  if ((state & kZmm) != kZmm || !bits(extended.b, {16, 17, 30, 31}) ||  // F, DQ, BW, VL
      !bits(extended.c, {11})) {                                        // VNNI
    return found;
  }
  found.push_back(Isa::avx512_vnni);
  if (!bits(more.a, {5})) return found;  // BF16
  found.push_back(Isa::avx512);
  if ((state & kTiles) != kTiles || !bits(extended.d, {22, 24, 25}) ||  // AMX BF16, TILE, INT8
      !request_tiles()) {
    return found;
  }
  found.push_back(Isa::amx);
  return found;
}

}  // namespace diffllama
