#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "training/data/example_source.h"
#include "training/data/token_shards.h"
#include "training/measures/language_measurement.h"

namespace diffllama {

/// What the documents that meet in one window are to each other. packed: strangers; positions begin
/// at 0 with each, so attention does not cross, and a document's first token has label -100, so no
/// loss does. plain: one text; attention and loss cross.
enum class Packing { packed, plain };

/// What becomes of the tokens behind the last whole window. dropped: all windows have one length.
/// kept: they are a shorter window, unless it is one token, which nothing predicts.
enum class LastWindow { dropped, kept };

/// Windows of a corpus: example i is tokens [i T, (i + 1) T). They follow each other without a gap;
/// what is left at the end, fewer than T tokens, may be a shorter one. A window that begins inside
/// a document has positions from 0, so none passes T - 1.
class LanguageModelSource : public ExampleSource {
 public:
  /// Throws InvalidArgument unless sequence_length >= 2 and the corpus holds a window.
  /// `token_bytes` is for measurement(), and may be null.
  LanguageModelSource(TokenShards corpus, std::int64_t sequence_length, Packing packing,
                      std::shared_ptr<const TokenByteCounts> token_bytes = nullptr,
                      LastWindow last = LastWindow::dropped);

  std::int64_t size() const override;
  /// input_ids [B, T], labels [B, T] (not shifted, as transformers takes them), and position_ids
  /// [B, T] when packed. The shorter window among others makes all of them one row [1, N], with
  /// position_ids that begin at 0 with each and label -100 for its first token.
  ForwardInputs collate(std::span<const std::int64_t> examples) const override;
  std::int64_t tokens(std::int64_t example) const override;

  std::unique_ptr<Measurement> measurement(PredictionSink sink) const override;

  const TokenShards& corpus() const { return corpus_; }

 private:
  void separate(std::int64_t example, std::span<std::int64_t> labels,
                std::span<std::int64_t> positions) const;

  TokenShards corpus_;
  std::int64_t sequence_length_;
  Packing packing_;
  LastWindow last_;
  std::shared_ptr<const TokenByteCounts> token_bytes_;
};

}  // namespace diffllama
