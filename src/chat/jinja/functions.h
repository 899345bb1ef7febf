#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "chat/jinja/context.h"

namespace diffllama::jinja {

/// A filter, a test or a method: takes the value that it stands behind.
struct Function {
  std::string_view name;
  Value (*call)(Context&, const Value&, const Arguments&);
};

/// Those of a name, or null. Filters and tests are Jinja's, with transformers' tojson.
const Function* find_filter(std::string_view name);
const Function* find_test(std::string_view name);
/// The method of Python's that a string, dict, list or tuple has by this name, bound to it. Those
/// that would change their object there are no attributes, as in Jinja's sandbox, but fail.
std::optional<Value> find_method(const Value& value, const std::string& name);
/// loop.index and so on.
Value loop_attribute(Context& context, const Loop& loop, const std::string& name);

// The tables, by what they are about; find_* look through them.
std::span<const Function> string_filters();
std::span<const Function> sequence_filters();
std::span<const Function> value_filters();
std::span<const Function> case_methods();
std::span<const Function> splitting_methods();
std::span<const Function> string_methods();
std::span<const Function> format_methods();

/// The functions that every template knows: range, dict, namespace, raise_exception, ...
std::vector<std::pair<std::string, Value>> global_functions();

// Shared between the tables.

/// A value that is a string, or fails naming `what`.
const Text& expect_text(const Value& value, const std::string& what);
/// text[index] of Python, undefined where there is none.
Value character(Context& context, const Text& text, std::int64_t index);
/// value[start:stop:step]; absent parts are None.
Value slice_of(Context& context, const Value& value, const Value& start, const Value& stop,
               const Value& step);
/// What attribute= of a filter looks up: a name, "a.b.0", or a number; None gives the value itself.
Value look_up(Context& context, const Value& value, const std::optional<Value>& attribute);
/// text % values.
Value format_percent(Context& context, const Text& text, const Value& values);
Text lower_text(Context& context, const Text& text);
Text upper_text(Context& context, const Text& text);
/// Python's str.isspace of one code point.
bool is_space(char32_t code);
/// Without whitespace at its ends.
Text trimmed(const Text& text);
/// Lines as str.splitlines has them, without their ends.
std::vector<Text> split_lines(const Text& text, bool keep_ends);
/// With & < > " ' as HTML writes them; what is markup stays.
Text html_escaped(Context& context, const Text& text);
/// Python's arithmetic; `op` is + - * / // % or **.
Value arithmetic(Context& context, std::string_view op, const Value& a, const Value& b);

}  // namespace diffllama::jinja
