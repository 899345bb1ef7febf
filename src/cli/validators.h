#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace diffllama::cli {

/// A number from `least` to `most`. Not CLI::Range: that lets NaN pass.
CLI::Validator number_from_to(double least, double most);

/// An integer from 0 to 2^64-1 in decimal. CLI11 alone reads "-1" as the largest and "010" as 8.
CLI::Validator natural_number();

/// A name that is not empty: an empty one, as "$UNSET" gives, would count as an option that is not
/// there.
CLI::Validator path_name();

/// Options and arguments that name a file or directory, or several: paths is a std::string, an
/// optional one or a vector.
template <class Paths>
CLI::Option* add_path_option(CLI::App& command, const char* name, Paths& paths, const char* help) {
  return command.add_option(name, paths, help)->check(path_name());
}

/// Options that take counts from `least` to `most`: one, several with commas between, or the option
/// several times. An empty count, as in "1,,2", is refused.
struct CountsOption {
  const char* name;
  const char* help;
  std::int64_t least, most;
};
CLI::Option* add_counts_option(CLI::App& command, const CountsOption& option,
                               std::vector<std::int64_t>& counts);

}  // namespace diffllama::cli
