#include "diffllama/tokenizer.h"

#include "checkpoint/gguf.h"
#include "checkpoint/gguf_tokenizer.h"
#include "tokenizer/load_tokenizer.h"

namespace diffllama {

Tokenizer Tokenizer::from_pretrained(const std::filesystem::path& path,
                                     const WarningHandler& warn) {
  if (path.extension() != ".gguf") return load_tokenizer(path, warn);
  const GgufFile file(path);
  return make_tokenizer(read_gguf_vocabulary(file), file.where());
}

}  // namespace diffllama
