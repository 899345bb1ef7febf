#pragma once

#include <string_view>
#include <vector>

namespace diffllama {

/// Instruction sets that kernels have code for, weakest first. Bits are promised within one of
/// them. avx2: AVX2, FMA, F16C. avx_vnni: avx2 and VNNI of 256 bits. avx512_vnni: F, BW, DQ, VL and
/// VNNI of AVX-512. avx512: those and BF16. amx: avx512 and AMX tiles (bf16, int8).
enum class Isa { portable, avx2, avx_vnni, avx512_vnni, avx512, amx };

std::string_view isa_name(Isa isa);
/// What this machine and its kernel offer, weakest first; always holds portable.
const std::vector<Isa>& available_isas();
/// The available one of that name; throws InvalidArgument when it is unknown or not available here.
Isa isa_named(std::string_view name);
/// The strongest available one, or what $DIFFLLAMA_ISA names (isa_named). Read once.
Isa active_isa();

}  // namespace diffllama
