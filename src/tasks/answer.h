#pragma once

#include <span>
#include <vector>

#include "diffllama/tasks.h"
#include "tasks/task_model.h"

namespace diffllama {

/// What diffllama/tasks.h says, of a model in parts.
std::vector<std::vector<Answer>> answer(const TaskModel& task_model,
                                        std::span<const Question> questions,
                                        const AnswerOptions& options);

}  // namespace diffllama
