#pragma once

#include <string>
#include <string_view>

#include "chat/jinja/value.h"

namespace diffllama::jinja {

/// A JSON text as a template sees it, all of it marked as content: objects keep the order of their
/// keys, numbers with a point or exponent are floats. Parsed as a stream: refuses duplicate keys,
/// nesting past 128 levels, integers of more than 64 bits, and a parsed form larger than the text
/// plus 64 MiB, with a FormatError that starts with `where`.
Value parse_json_value(std::string_view text, const std::string& where);

}  // namespace diffllama::jinja
