#pragma once

#include <cstdint>
#include <span>

#include "base/parallel.h"
#include "diffllama/microscope.h"
#include "model/forward.h"

namespace diffllama {

/// What attention_report() gives, of a model in parts; tokens stay empty.
AttentionReport make_attention_report(const ForwardModel& model, std::span<const std::int64_t> ids,
                                      const MicroscopeOptions& options, const Parallel& parallel);

/// The output head whose maps are kept. Throws InvalidArgument where there is none.
const AttentionHead& kept_head(const AttentionReport& report, std::int64_t layer,
                               std::int64_t head);

}  // namespace diffllama
