#pragma once

#include <span>
#include <vector>

#include "diffllama/tasks.h"
#include "tasks/task_model.h"

namespace diffllama {

/// What diffllama/tasks.h says, of a model in parts.
std::vector<std::vector<Entity>> tag(const TaskModel& task_model, std::span<const TagInput> inputs,
                                     const TagOptions& options);

}  // namespace diffllama
