#pragma once

#include <string>

#include "chat/jinja/evaluator.h"
#include "chat/jinja/syntax.h"

namespace diffllama::jinja {

/// What the template makes of these variables. Throws FormatError, which starts with `where` and
/// the line, for all that goes wrong on the way, a limit that is reached among it.
Text render(const Body& body, const Variables& variables, const Limits& limits,
            const std::string& where);

}  // namespace diffllama::jinja
