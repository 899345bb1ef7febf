#pragma once

#include <span>
#include <vector>

#include "diffllama/tasks.h"
#include "tasks/task_model.h"

namespace diffllama {

/// What diffllama/tasks.h says, of a model in parts.
std::vector<Classification> classify(const TaskModel& task_model,
                                     std::span<const ClassifyInput> inputs,
                                     const ClassifyOptions& options);

}  // namespace diffllama
