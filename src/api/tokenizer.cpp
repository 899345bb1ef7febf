#include "diffllama/tokenizer.h"

#include "checkpoint/gguf/gguf.h"
#include "checkpoint/gguf/gguf_tokenizer.h"
#include "checkpoint/model_path.h"
#include "tokenizer/load_tokenizer.h"

namespace diffllama {

Tokenizer Tokenizer::from_pretrained(const std::filesystem::path& path,
                                     const WarningHandler& warn) {
  const std::filesystem::path found = find_tokenizer(path);
  if (found.extension() != ".gguf") return load_tokenizer(found, warn);
  const GgufFile file(found);
  return read_gguf_tokenizer(file, warn);
}

}  // namespace diffllama
