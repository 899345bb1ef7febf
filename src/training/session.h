#pragma once

#include <functional>

#include "base/parallel.h"
#include "diffllama/config.h"
#include "diffllama/model.h"
#include "diffllama/training.h"
#include "training/recipe.h"

namespace diffllama {

/// What every token is multiplied with, times 6: two operations forward and four backward for each
/// value of the layers' matrices and the head; times 4 where these are frozen, as under an adapter,
/// whose own products are not counted. A look-up costs none.
double operations_per_token(const ModelConfig& config, bool frozen);

/// Operations that this machine can do in a second in that type.
using PeakMeasurement = std::function<double(ComputeType, const Parallel&)>;

/// train() of a recipe that was read; without `measure_peak`, which lies in a higher layer, there
/// is no mfu.
TrainingEnd run_training(const Recipe& recipe, const TrainingOptions& options,
                         const PeakMeasurement& measure_peak = {});

}  // namespace diffllama
