#include "kernels/isa.h"

#include <cstdlib>
#include <string>

#include "diffllama/error.h"
#include "kernels/cpu/detect.h"

namespace diffllama {
namespace {

Isa choose() {
  const char* wanted = std::getenv("DIFFLLAMA_ISA");  // NOLINT(concurrency-mt-unsafe): read once
  if (wanted == nullptr || *wanted == '\0') return available_isas().back();
  return isa_named(wanted);
}

}  // namespace

std::string_view isa_name(Isa isa) {
  switch (isa) {
    case Isa::portable:
      return "portable";
    case Isa::avx2:
      return "avx2";
    case Isa::avx_vnni:
      return "avx_vnni";
    case Isa::avx512_vnni:
      return "avx512_vnni";
    case Isa::avx512:
      return "avx512";
    case Isa::amx:
      return "amx";
  }
  return "unknown";
}

Isa isa_named(std::string_view name) {
  std::string names;
  for (const Isa isa : available_isas()) {
    if (isa_name(isa) == name) return isa;
    names += (names.empty() ? "" : ", ") + std::string(isa_name(isa));
  }
  throw InvalidArgument("DIFFLLAMA_ISA: expected one of " + names + " on this machine, got \"" +
                        std::string(name.substr(0, 60)) + "\"");
}

const std::vector<Isa>& available_isas() {
  static const std::vector<Isa> found = detect_isas();
  return found;
}

Isa active_isa() {
  static const Isa isa = choose();
  return isa;
}

}  // namespace diffllama
