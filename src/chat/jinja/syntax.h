#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "chat/jinja/value.h"

namespace diffllama::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;
struct Statement;
using Body = std::vector<Statement>;

/// What stands between the parentheses of a call, a filter or a test.
struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  ExpressionPtr all_positional, all_named;  // *a and **a; may be null
};

struct Expression {
  enum class Kind {
    constant,     // value
    name,         // name
    list,         // parts
    tuple,        // parts
    dict,         // parts: key, value, key, value, ...
    attribute,    // parts[0].name
    item,         // parts[0][parts[1]]
    slice,        // parts[0][parts[1]:parts[2]:parts[3]], each of the last three may be null
    call,         // parts[0](arguments)
    filter,       // parts[0] | name(arguments); parts[0] is null where a block is filtered
    test,         // parts[0] is name(arguments)
    conditional,  // parts[1] if parts[0] else parts[2], which may be null
    logical_and,
    logical_or,
    logical_not,
    compare,     // parts[0] operators[0] parts[1] operators[1] parts[2] ...
    arithmetic,  // parts[0] name parts[1]
    negative,
    positive,
    concat,  // parts[0] ~ parts[1] ~ ...
  };
  Kind kind = Kind::constant;
  int line = 0;
  int depth = 1;  // levels of expressions in it
  Value value;
  std::string name;
  std::vector<ExpressionPtr> parts;
  std::vector<std::string> operators;
  CallArguments arguments;
};

/// Where an assignment goes: a name, an attribute of a namespace, or several of these.
struct Target {
  std::string name;
  std::string attribute;      // of the namespace `name`; empty: the name itself
  std::vector<Target> parts;  // not empty: unpacked
};

struct Parameter {
  std::string name;
  ExpressionPtr otherwise;  // may be null
};

/// `if` with its `elif`s: the first whose condition holds is carried out.
struct Branch {
  ExpressionPtr condition;  // null for `else`
  Body body;
};

/// Which of the special names the body of a macro reads, and with them what it may be passed.
struct SpecialNames {
  bool varargs = false, kwargs = false, caller = false;
};

struct Statement {
  enum class Kind {
    text,        // text
    output,      // expressions
    condition,   // branches
    loop,        // target in expressions[0] if expressions[1], body, otherwise
    set,         // target = expressions[0]
    set_block,   // target = body, through the filters of expressions[0] where it is not null
    macro,       // name, parameters, body
    call,        // expressions[0] is a call whose caller() is parameters and body
    filter,      // body through the filters of expressions[0]
    with,        // targets = expressions, body
    scope,       // body, in a scope of its own: block, autoescape
    generation,  // the same; what it writes is the assistant's
    break_loop,
    continue_loop,
  };
  Kind kind = Kind::text;
  int line = 0;
  std::string text, name;
  std::vector<ExpressionPtr> expressions;
  std::vector<Branch> branches;
  std::vector<Target> targets;
  std::vector<Parameter> parameters;
  SpecialNames special;
  Body body, otherwise;
  bool recursive = false;
};

/// The statements of a template. Throws FormatError, which starts with `where` and the line.
Body parse_template(std::string_view source, const std::string& where);

}  // namespace diffllama::jinja
