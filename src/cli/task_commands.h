#pragma once

#include <CLI/CLI.hpp>

namespace diffllama::cli {

// What a model's heads do with texts; one for each file of this folder.
void add_classify_command(CLI::App& app);
void add_answer_command(CLI::App& app);
void add_tag_command(CLI::App& app);
void add_embed_command(CLI::App& app);
void add_evaluate_command(CLI::App& app);

}  // namespace diffllama::cli
