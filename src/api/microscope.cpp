#include "diffllama/microscope.h"

#include "api/model.h"
#include "microscope/report.h"

namespace diffllama {

AttentionReport attention_report(const Model& model, std::span<const std::int64_t> ids,
                                 const MicroscopeOptions& options) {
  const Model::Impl& impl = model.impl();
  return make_attention_report(impl.forward_model(), ids, options, impl.parallel);
}

AttentionReport attention_report(const Model& model, const Tokenizer& tokenizer,
                                 std::span<const std::int64_t> ids,
                                 const MicroscopeOptions& options) {
  AttentionReport report = attention_report(model, ids, options);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    std::string token = tokenizer.token_bytes(ids[i], i == 0);
    // Control tokens add nothing to a text, and are seen by their names.
    report.tokens.push_back(token.empty() ? tokenizer.id_to_token(ids[i]) : std::move(token));
  }
  return report;
}

}  // namespace diffllama
