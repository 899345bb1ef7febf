#pragma once

#include <filesystem>
#include <vector>

#include "diffllama/documents.h"

namespace diffllama {

/// Whether DocumentReader takes a file for rows.
bool has_rows(const std::filesystem::path& file, DocumentFormat format);

/// The files that DocumentReader reads for `paths`.
std::vector<std::filesystem::path> document_files(const std::vector<std::filesystem::path>& paths);

}  // namespace diffllama
