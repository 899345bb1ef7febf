#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace diffllama {

/// What a document may be at most before it is refused.
struct JsonLimits {
  std::size_t depth = 128;
  /// Memory of the parsed form beyond the text's own size, in bytes.
  std::size_t extra_bytes = std::size_t{60} << 20;
  std::size_t members = SIZE_MAX;  // of one object
};

/// Parses strict JSON (RFC 8259, UTF-8; no NaN, no comments) as a stream, so that a hostile
/// document is refused before it takes more memory than its size plus 64 MiB. Refuses duplicate
/// keys of an object, numbers that overflow a double, and nesting, members or memory past `limits`.
/// Throws FormatError that starts with `where` (a path, or "header of PATH").
nlohmann::json parse_json(std::string_view text, const std::string& where,
                          const JsonLimits& limits = {});

/// The same, with members in the text's order. Every look-up goes through the members: give
/// limits.members where the text comes from outside.
nlohmann::ordered_json parse_ordered_json(std::string_view text, const std::string& where,
                                          const JsonLimits& limits = {});

/// Readers of members by their way from the root, "model.vocab".
using JsonReaders = std::map<std::string, nlohmann::json_sax<nlohmann::json>*>;

/// parse_json of a document with members too large to be built: the value of each goes to its
/// reader event by event, and into the document as null. What a reader throws passes through; its
/// parse_error() is never called.
nlohmann::json parse_json(std::string_view text, const std::string& where,
                          const JsonReaders& readers, const JsonLimits& limits = {});

/// A value as an error message shows it: its JSON text, cut to 60 characters.
std::string json_excerpt(const nlohmann::json& value);

}  // namespace diffllama
