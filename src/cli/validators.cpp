#include "cli/validators.h"

#include <charconv>
#include <string_view>
#include <system_error>

namespace diffllama::cli {
namespace {

// A name of its own in the help, and one way of saying what is wrong.
template <class Accepts>
CLI::Validator validator(const std::string& expected, const char* type, Accepts accepts) {
  return {[expected, accepts](std::string& text) {
            return accepts(text) ? std::string() : "expected " + expected + ", got " + text;
          },
          type};
}

template <class Number>
bool read_whole(std::string_view text, Number& number) {
  const char* const end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && last == end;
}

std::string short_text(double value) {
  std::string text = std::to_string(value);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) text.pop_back();
  return text;
}

// Counts between commas; false for any other text.
bool read_counts(std::string_view text, const CountsOption& option,
                 std::vector<std::int64_t>& counts) {
  while (true) {
    const std::size_t comma = text.find(',');
    std::int64_t count = 0;
    if (!read_whole(text.substr(0, comma), count)) return false;
    if (count < option.least || count > option.most) return false;
    counts.push_back(count);
    if (comma == std::string_view::npos) return true;
    text.remove_prefix(comma + 1);
  }
}

}  // namespace

CLI::Validator number_from_to(double least, double most) {
  return validator("a number from " + short_text(least) + " to " + short_text(most), "",
                   [=](const std::string& text) {
                     double value = 0;
                     return CLI::detail::lexical_cast(text, value) && value >= least &&
                            value <= most;  // both false for NaN
                   });
}

CLI::Validator natural_number() {
  return validator("an integer from 0 to 18446744073709551615", "", [](const std::string& text) {
    std::uint64_t value = 0;
    const bool octal = text.size() > 1 && text[0] == '0';
    return !octal && read_whole(text, value);
  });
}

CLI::Validator path_name() {
  return {[](const std::string& path) {
            return path.empty() ? "expected the name of a file or directory, got an empty one" : "";
          },
          ""};
}

CLI::Option* add_counts_option(CLI::App& command, const CountsOption& option,
                               std::vector<std::int64_t>& counts) {
  std::string shown;
  for (const std::int64_t count : counts) {
    shown += (shown.empty() ? "" : ",") + std::to_string(count);
  }
  CLI::Option* const added = command.add_option_function<std::vector<std::string>>(
      option.name,
      [&counts, option](const std::vector<std::string>& texts) {
        counts.clear();
        for (const std::string& text : texts) read_counts(text, option, counts);
      },
      option.help);
  added->type_name("COUNT,...");
  added->check(validator("counts from " + std::to_string(option.least) + " to " +
                             std::to_string(option.most) + " with commas between",
                         "", [option](const std::string& text) {
                           std::vector<std::int64_t> read;
                           return read_counts(text, option, read);
                         }));
  if (!shown.empty()) added->default_str(shown);
  return added;
}

}  // namespace diffllama::cli
