#include "checkpoint/content_hash.h"

#include <xxhash.h>

#include <algorithm>

namespace diffllama {

std::vector<std::uint64_t> content_hashes(const std::vector<std::span<const std::byte>>& blocks,
                                          const Parallel& parallel) {
  constexpr std::size_t kPiece = std::size_t{4} << 20;
  std::vector<std::span<const std::byte>> pieces;
  std::vector<std::size_t> first_piece = {0};  // of each block, and where the last one ends
  for (std::span<const std::byte> block : blocks) {
    for (; !block.empty(); block = block.subspan(std::min(kPiece, block.size()))) {
      pieces.push_back(block.first(std::min(kPiece, block.size())));
    }
    first_piece.push_back(pieces.size());
  }
  std::vector<std::uint64_t> of_pieces(pieces.size());
  parallel.run(static_cast<std::int64_t>(pieces.size()), [&](std::int64_t i, int) {
    const std::span<const std::byte> piece = pieces[static_cast<std::size_t>(i)];
    of_pieces[static_cast<std::size_t>(i)] = XXH3_64bits(piece.data(), piece.size());
  });
  std::vector<std::uint64_t> hashes;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    hashes.push_back(XXH3_64bits(of_pieces.data() + first_piece[i],
                                 (first_piece[i + 1] - first_piece[i]) * sizeof(std::uint64_t)));
  }
  return hashes;
}

}  // namespace diffllama
