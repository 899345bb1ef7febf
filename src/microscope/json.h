#pragma once

#include <cstdint>
#include <optional>

#include <nlohmann/json.hpp>

#include "diffllama/microscope.h"

namespace diffllama {

/// A report as to_json() has it; without `reads` no maps and no tokens read.
nlohmann::ordered_json report_json(const AttentionReport& report,
                                   std::optional<std::int64_t> reads = std::nullopt);

}  // namespace diffllama
