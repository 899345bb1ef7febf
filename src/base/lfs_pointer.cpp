#include "base/lfs_pointer.h"

#include <string_view>

#include "diffllama/error.h"

namespace diffllama {

void refuse_lfs_pointer(std::span<const std::byte> bytes, const std::string& where) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  // Earlier versions of Git LFS wrote hawser.github.com.
  for (const char* start :
       {"version https://git-lfs.github.com/spec/", "version https://hawser."}) {
    if (text.starts_with(start)) {
      throw IoError(where +
                    ": expected the file's content, got a Git LFS pointer to it (\"git lfs pull\" "
                    "in the clone gets the content)");
    }
  }
}

}  // namespace diffllama
