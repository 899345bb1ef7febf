#pragma once

#include <string>
#include <vector>

#include "chat/jinja/evaluator.h"
#include "chat/jinja/syntax.h"
#include "diffllama/chat.h"

namespace diffllama::jinja {

/// What a template made.
struct Rendered {
  Text text;
  /// Bytes that {% generation %} blocks wrote, in order; of blocks whose text goes through a macro,
  /// a filter or a variable, none.
  std::vector<RenderedChat::Range> generated;
};

/// What the template makes of these variables. Throws FormatError, which starts with `where` and
/// the line, for all that goes wrong on the way, a limit that is reached among it.
Rendered render(const Body& body, const Variables& variables, const Limits& limits,
                const std::string& where);

}  // namespace diffllama::jinja
