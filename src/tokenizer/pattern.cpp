#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/pattern.h"

#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "base/json.h"
#include "base/utf8.h"
#include "diffllama/error.h"
#include "tokenizer/oniguruma_regex.h"
#include "tokenizer/oniguruma_syntax.h"

namespace diffllama {
namespace {

constexpr std::size_t kMaxPatternBytes = 64 << 10;
constexpr std::uint32_t kHeapLimitKiB = 256 << 10;
constexpr std::size_t kJitStackBytes = 4 << 20;
constexpr std::uint32_t kFirstMatchLimit = 10'000;  // steps of one match that cost nothing
constexpr std::uint64_t kFreeSteps = 10'000'000;    // of all that take more, and
constexpr std::uint64_t kStepsPerByte = 64;         // that many more for each byte of the text

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

struct Release {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  void operator()(pcre2_jit_stack* stack) const { pcre2_jit_stack_free(stack); }
};
template <class T>
using Handle = std::unique_ptr<T, Release>;

void add_part(std::vector<Match>& matches, std::size_t begin, std::size_t end, bool matched) {
  matches.push_back({begin, end, matched});
}

}  // namespace

struct Pattern::Regex {
  Handle<pcre2_code> code;                          // or, where PCRE2 cannot say it,
  std::unique_ptr<const OnigurumaRegex> oniguruma;  // which is slower
};

namespace {

// Null for what PCRE2 cannot say.
Handle<pcre2_code> compile_pcre2(std::string_view oniguruma, const std::string& where) {
  std::string translated;
  try {
    translated = oniguruma_to_pcre2(oniguruma, where);
  } catch (const FormatError&) {
    return nullptr;
  }
  const Handle<pcre2_compile_context> context(pcre2_compile_context_create(nullptr));
  if (context == nullptr) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  Handle<pcre2_code> code(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                    &offset, context.get()));
  // Where executable memory is forbidden this fails, and matching is interpreted.
  if (code != nullptr) static_cast<void>(pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE));
  return code;
}

struct SearchResult {
  enum class Outcome { match, no_match, over_limit, failed } outcome = Outcome::no_match;
  std::size_t begin = 0, end = 0;
  std::string failure;
};

// Steps are limited first to few and then to more and more, so that what a search took is known
// within a factor and comes out of a budget for the whole text.
template <class Try>
SearchResult search_within(std::uint64_t& budget, const Try& try_search) {
  for (std::uint64_t limit = kFirstMatchLimit;;) {
    SearchResult result = try_search(limit);
    if (result.outcome != SearchResult::Outcome::over_limit || budget == 0) return result;
    limit = std::min({limit * 16, std::uint64_t{UINT32_MAX}, std::max(budget, limit)});
    budget -= std::min(budget, limit);
  }
}

SearchResult try_oniguruma(const OnigurumaRegex& regex, std::string_view text, std::size_t start,
                           std::uint64_t limit) {
  const OnigurumaRegex::Found found = regex.search(text, start, limit);
  switch (found.outcome) {
    case OnigurumaRegex::Outcome::match:
      return {SearchResult::Outcome::match, found.begin, found.end, ""};
    case OnigurumaRegex::Outcome::no_match:
      return {};
    case OnigurumaRegex::Outcome::over_limit:
      return {SearchResult::Outcome::over_limit, 0, 0, "match limit exceeded"};
    case OnigurumaRegex::Outcome::failed:
      break;
  }
  return {SearchResult::Outcome::failed, 0, 0, "Oniguruma failed"};
}

}  // namespace

struct Pattern::Matcher::State {
  Handle<pcre2_match_data> data;
  Handle<pcre2_match_context> context;
  Handle<pcre2_jit_stack> stack;

  State()
      : data(pcre2_match_data_create(1, nullptr)),
        context(pcre2_match_context_create(nullptr)),
        stack(pcre2_jit_stack_create(32 << 10, kJitStackBytes, nullptr)) {
    if (data == nullptr || context == nullptr) throw std::bad_alloc();
    pcre2_set_heap_limit(context.get(), kHeapLimitKiB);
    if (stack != nullptr) pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }

  // One try of a search, with at most `limit` steps.
  SearchResult try_pcre2(const pcre2_code* code, std::string_view text, std::size_t start,
                         std::uint64_t limit) const {
    pcre2_set_match_limit(context.get(), static_cast<std::uint32_t>(limit));
    const auto match = [&](std::uint32_t options) {
      return pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), start,
                         options, data.get(), context.get());
    };
    int result = match(PCRE2_NO_UTF_CHECK);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = match(PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT);
    if (result == PCRE2_ERROR_NOMATCH) return {};
    if (result < 0) {
      const auto outcome = result == PCRE2_ERROR_MATCHLIMIT ? SearchResult::Outcome::over_limit
                                                            : SearchResult::Outcome::failed;
      return {outcome, 0, 0, pcre2_message(result)};
    }
    const PCRE2_SIZE* found = pcre2_get_ovector_pointer(data.get());
    // \K in a lookahead can swap them.
    return {SearchResult::Outcome::match, found[0], std::max(found[0], found[1]), ""};
  }
};

Pattern::Pattern() = default;
Pattern::~Pattern() = default;
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;

Pattern Pattern::regex(std::string_view oniguruma, const std::string& where) {
  if (oniguruma.size() > kMaxPatternBytes) {
    throw FormatError(where + ": expected a regular expression of at most " +
                      std::to_string(kMaxPatternBytes) + " bytes, got " +
                      std::to_string(oniguruma.size()));
  }
  auto regex = std::make_unique<Regex>();
  regex->code = compile_pcre2(oniguruma, where);
  if (regex->code == nullptr) {
    regex->oniguruma = std::make_unique<OnigurumaRegex>(oniguruma, where);
  }
  Pattern pattern;
  pattern.text_ = oniguruma;
  pattern.regex_ = std::move(regex);
  pattern.where_ = where;
  return pattern;
}

Pattern Pattern::from_json(const nlohmann::json& value, const std::string& where) {
  if (value.is_object() && value.size() == 1 && value.begin()->is_string()) {
    const auto& text = value.begin()->get_ref<const std::string&>();
    if (value.begin().key() == "Regex") return regex(text, where);
    if (value.begin().key() == "String" && !text.empty()) {
      Pattern pattern;
      pattern.text_ = text;
      pattern.where_ = where;
      return pattern;
    }
    if (value.begin().key() == "String") return regex("", where);
  }
  throw FormatError(where + R"(: expected {"String": "..."} or {"Regex": "..."}, got )" +
                    json_excerpt(value));
}

Pattern::Matcher::Matcher(const Pattern& pattern) : pattern_(pattern) {
  if (pattern.regex_ != nullptr) state_ = std::make_unique<State>();
}
Pattern::Matcher::~Matcher() = default;

void Pattern::Matcher::find(std::string_view text, std::vector<Match>& matches) {
  matches.clear();
  std::size_t covered = 0;
  const auto add_match = [&](std::size_t begin, std::size_t end) {
    if (covered != begin) add_part(matches, covered, begin, false);
    add_part(matches, begin, end, true);
    covered = end;
  };
  if (state_ == nullptr) {
    const std::string& literal = pattern_.text_;
    for (std::size_t at = text.find(literal); at != std::string_view::npos;
         at = text.find(literal, covered)) {
      add_match(at, at + literal.size());
    }
  } else {
    std::uint64_t budget = kFreeSteps + kStepsPerByte * text.size();
    std::size_t last_match_end = std::string_view::npos;
    for (std::size_t start = 0; start <= text.size();) {
      const Regex& regex = *pattern_.regex_;
      const SearchResult result = search_within(budget, [&](std::uint64_t limit) {
        return regex.oniguruma != nullptr ? try_oniguruma(*regex.oniguruma, text, start, limit)
                                          : state_->try_pcre2(regex.code.get(), text, start, limit);
      });
      if (result.outcome == SearchResult::Outcome::no_match) break;
      if (result.outcome != SearchResult::Outcome::match) {
        throw FormatError(pattern_.where_ + ": the regular expression \"" +
                          pattern_.text_.substr(0, 200) + "\" cannot match at byte " +
                          std::to_string(start) + " of a text of " + std::to_string(text.size()) +
                          " bytes: " + result.failure);
      }
      const std::size_t begin = result.begin;
      const std::size_t end = result.end;
      if (begin == end && last_match_end == end) {  // no empty match right after another
        start += start < text.size() ? code_point_at(text, start).length : 1;
        continue;
      }
      add_match(begin, end);
      start = end;
      last_match_end = end;
    }
  }
  if (covered != text.size()) add_part(matches, covered, text.size(), false);
}

}  // namespace diffllama
