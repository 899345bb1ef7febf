#pragma once

#include <memory>
#include <optional>

#include <nlohmann/json.hpp>

#include "tokenizer/decoder.h"
#include "tokenizer/normalizer.h"

namespace diffllama {

/// What surrounds the BPE of a GGUF vocabulary `llama`, as tokenizer.json says it: blanks become
/// U+2581, with one in front of every text between special tokens where `space_prefix` says so; the
/// decoder takes that back and makes bytes of tokens like <0x0A>.
nlohmann::ordered_json spm_normalizer_json(bool space_prefix);
nlohmann::ordered_json spm_decoder_json(bool space_prefix);

/// The other way round: whether a tokenizer.json (without its vocab and merges) is of this kind,
/// and then whether a blank is put in front. Blanks may be the business of the normalizer (Llama 2)
/// or of a Metaspace that does not split.
std::optional<bool> spm_space_prefix(const nlohmann::json& tokenizer);

std::unique_ptr<const Normalizer> make_spm_normalizer(bool space_prefix);
std::unique_ptr<const Decoder> make_spm_decoder(bool space_prefix);

}  // namespace diffllama
