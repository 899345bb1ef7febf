#pragma once

#include <cstddef>
#include <cstdint>

#include "chat/jinja/context.h"

namespace diffllama::jinja {

// What grows by a number is paid for before the work: a template that asks for too much ends at
// once, and not after all the work that its limits allow.

/// Pays for `count` things of `bytes` bytes. Throws Failure.
void spend_bytes_of(Context& context, std::uint64_t count, std::uint64_t bytes);

/// `text` so many times, paid for; nothing for a count below 1. Throws Failure.
Text repeated(Context& context, const Text& text, std::int64_t count);

/// Pays for a piece of work on each character of a text. Throws Failure.
void spend_characters(Context& context, const Text& text);

/// Pays for the lines that split_lines() makes. Throws Failure.
void spend_lines(Context& context, const Text& text);

/// a - b, from 0 to the largest number of 64 bits.
std::int64_t missing(std::int64_t a, std::int64_t b);

}  // namespace diffllama::jinja
