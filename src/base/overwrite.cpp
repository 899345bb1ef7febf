#include <system_error>

#include "diffllama/error.h"
#include "diffllama/files.h"

namespace diffllama {

namespace fs = std::filesystem;

void refuse_overwriting(const fs::path& output, const std::vector<fs::path>& inputs) {
  for (const fs::path& input : inputs) {
    std::error_code error;  // one that is absent is not the same as any
    if (!fs::equivalent(output, input, error) || error) continue;
    throw InvalidArgument(output.string() + ": expected another path than what is read, got " +
                          input.string());
  }
}

}  // namespace diffllama
