#pragma once

#include <span>
#include <string>
#include <vector>

#include "diffllama/tasks.h"
#include "tasks/task_model.h"

namespace diffllama {

/// What diffllama/tasks.h says, of a model in parts.
std::vector<std::vector<float>> embed(const TaskModel& task_model,
                                      std::span<const std::string> texts,
                                      const EmbedOptions& options);

}  // namespace diffllama
