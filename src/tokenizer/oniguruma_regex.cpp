#include "tokenizer/oniguruma_regex.h"

#include <oniguruma.h>

#include <algorithm>
#include <array>
#include <new>
#include <utility>

#include "diffllama/error.h"

namespace diffllama {
namespace {

struct Release {
  void operator()(OnigRegion* region) const { onig_region_free(region, 1); }
  void operator()(OnigMatchParam* parameters) const { onig_free_match_param(parameters); }
};

const OnigUChar* as_bytes(const char* text) { return reinterpret_cast<const OnigUChar*>(text); }

}  // namespace

struct OnigurumaRegex::Compiled {
  regex_t* regex = nullptr;
  Compiled() = default;
  ~Compiled() {
    if (regex != nullptr) onig_free(regex);
  }
  Compiled(const Compiled&) = delete;
  Compiled& operator=(const Compiled&) = delete;
  Compiled(Compiled&&) = delete;
  Compiled& operator=(Compiled&&) = delete;
};

OnigurumaRegex::OnigurumaRegex(std::string_view pattern, const std::string& where) {
  static const int kStarted = [] {
    std::array<OnigEncoding, 1> encodings = {ONIG_ENCODING_UTF8};
    return onig_initialize(encodings.data(), static_cast<int>(encodings.size()));
  }();
  auto compiled = std::make_unique<Compiled>();
  OnigErrorInfo info{};
  const OnigUChar* begin = as_bytes(pattern.data());
  const int result =
      kStarted != ONIG_NORMAL
          ? kStarted
          : onig_new(&compiled->regex, begin, begin + pattern.size(), ONIG_OPTION_NONE,
                     ONIG_ENCODING_UTF8, ONIG_SYNTAX_ONIGURUMA, &info);
  if (result != ONIG_NORMAL) {
    std::array<OnigUChar, ONIG_MAX_ERROR_MESSAGE_LEN> message{};
    const int length = onig_error_code_to_str(message.data(), result, &info);
    throw FormatError(where + ": expected a regular expression that Oniguruma compiles, got \"" +
                      std::string(pattern.substr(0, 200)) + "\": " +
                      std::string(reinterpret_cast<const char*>(message.data()),
                                  static_cast<std::size_t>(std::max(length, 0))));
  }
  compiled_ = std::move(compiled);
}

OnigurumaRegex::~OnigurumaRegex() = default;

OnigurumaRegex::Found OnigurumaRegex::search(std::string_view text, std::size_t start,
                                             std::uint64_t limit) const {
  const std::unique_ptr<OnigRegion, Release> region(onig_region_new());
  const std::unique_ptr<OnigMatchParam, Release> parameters(onig_new_match_param());
  if (region == nullptr || parameters == nullptr) throw std::bad_alloc();
  onig_initialize_match_param(parameters.get());
  onig_set_retry_limit_in_match_of_match_param(parameters.get(), limit);
  onig_set_retry_limit_in_search_of_match_param(parameters.get(), limit);
  const OnigUChar* begin = as_bytes(text.data());
  const OnigUChar* end = begin + text.size();
  const int result = onig_search_with_param(compiled_->regex, begin, end, begin + start, end,
                                            region.get(), ONIG_OPTION_NONE, parameters.get());
  if (result >= 0) {
    return {Outcome::match, static_cast<std::size_t>(region->beg[0]),
            static_cast<std::size_t>(region->end[0])};
  }
  if (result == ONIG_MISMATCH) return {};
  const bool over =
      result == ONIGERR_RETRY_LIMIT_IN_MATCH_OVER || result == ONIGERR_RETRY_LIMIT_IN_SEARCH_OVER;
  return {over ? Outcome::over_limit : Outcome::failed, 0, 0};
}

}  // namespace diffllama
