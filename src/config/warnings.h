#pragma once

#include <cstdio>
#include <string>

#include "base/text.h"
#include "diffllama/config.h"

namespace diffllama {

/// Gives a one-line warning to `warn`; without a handler it goes to stderr as "warning: ...".
inline void emit_warning(const WarningHandler& warn, const std::string& message) {
  if (warn) {
    warn(message);
  } else {
    std::fprintf(stderr, "warning: %s\n", printable(message).c_str());
  }
}

}  // namespace diffllama
