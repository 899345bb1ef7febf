#include "diffllama/tokenizer.h"

#include "checkpoint/gguf/gguf.h"
#include "checkpoint/gguf/gguf_tokenizer.h"
#include "tokenizer/load_tokenizer.h"

namespace diffllama {

Tokenizer Tokenizer::from_pretrained(const std::filesystem::path& path,
                                     const WarningHandler& warn) {
  if (path.extension() != ".gguf") return load_tokenizer(path, warn);
  const GgufFile file(path);
  return read_gguf_tokenizer(file, warn);
}

}  // namespace diffllama
