#pragma once

#include <string_view>

namespace diffllama {

/// page.html, which the build makes a string of. "<!--data-->" in it stands for the report.
extern const std::string_view kMicroscopePage;

}  // namespace diffllama
