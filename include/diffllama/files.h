#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

namespace [[gnu::visibility("default")]] diffllama {

/// Writes the whole of `text` as the content of `path`, so that the path always holds the whole old
/// content or the whole new one, even after kill -9 or a loss of power. A new file gets the mode
/// that umask gives, a replaced one keeps its mode; a symbolic link is replaced, not followed.
/// Throws IoError.
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

/// Whoever writes asks this first: throws InvalidArgument "OUTPUT: expected another path than what
/// is read, got INPUT" where `output` is one of the inputs, which writing would destroy. The same
/// is the same file or directory of the system, so links are seen through.
void refuse_overwriting(const std::filesystem::path& output,
                        const std::vector<std::filesystem::path>& inputs);

/// Lets the signals that end a program (SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM) remove what this
/// library has not finished writing first, files as large as a model among it; the program then
/// dies of the signal as if nobody had caught it. A signal that is ignored (nohup) stays ignored.
/// SIGXFSZ is ignored from now on: write() then fails as it does on a full disk, with an error that
/// names the file. For main(), before there are threads; nothing else here touches signals.
void clean_up_on_signals();

/// What that handler does: removes what is unfinished and dies of the signal. Async-signal-safe,
/// for programs whose handlers have more to do.
[[noreturn]] void clean_up_and_die(int signal) noexcept;

}  // namespace diffllama
