#pragma once

#include <cstddef>
#include <filesystem>

#include "diffllama/files.h"  // clean_up_on_signals

namespace diffllama {

/// While it lives, `path` is removed before a signal ends the program (clean_up_on_signals): a
/// file, or a directory with the files in it.
class RemovedOnSignal {
 public:
  explicit RemovedOnSignal(const std::filesystem::path& path) noexcept;
  ~RemovedOnSignal();
  RemovedOnSignal(const RemovedOnSignal&) = delete;
  RemovedOnSignal& operator=(const RemovedOnSignal&) = delete;

 private:
  std::size_t slot_;
};

}  // namespace diffllama
