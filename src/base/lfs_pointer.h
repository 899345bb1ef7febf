#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace diffllama {

/// Throws IoError that names `where` and Git LFS if the bytes of a file are the pointer that a
/// clone without Git LFS leaves in its place (git-lfs docs/spec.md).
void refuse_lfs_pointer(std::span<const std::byte> bytes, const std::string& where);

}  // namespace diffllama
