// The functions that every template knows.
#include <algorithm>
#include <array>
#include <ctime>
#include <utility>

#include "chat/jinja/functions.h"

namespace diffllama::jinja {
namespace {

using Integer = std::int64_t;
using Call = Value (*)(Context&, const Arguments&);

constexpr Integer kMostOfRange = 100'000;  // as Jinja's sandbox has it

Value range(Context& context, const Arguments& arguments) {
  const std::vector<Value>& given = arguments.positional;
  if (given.empty() || given.size() > 3 || !arguments.named.empty()) {
    throw Failure("expected one to three integers for range, got another call");
  }
  std::array<Integer, 3> numbers{0, 0, 1};
  for (std::size_t i = 0; i < given.size(); ++i) {
    const auto integer = given[i].as_integer();
    if (!integer) throw Failure("expected integers for range, got " + type_name(given[i]));
    numbers[given.size() == 1 ? 1 : i] = *integer;
  }
  const auto [start, stop, step] = numbers;
  if (step == 0) throw Failure("expected a step of range that is not 0, got 0");
  std::vector<Value> items;
  for (Integer i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<Integer>(items.size()) == kMostOfRange) {
      throw Failure("expected a range of at most " + std::to_string(kMostOfRange) + ", got more");
    }
    items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  Value made = context.list(std::move(items), Sequence::Kind::range);
  made.shared_sequence()->range = numbers;
  return made;
}

// What dict(...) takes: a dict or pairs, and names.
Dict dict_of(Context& context, const Arguments& arguments) {
  Dict dict;
  if (arguments.positional.size() > 1) throw Failure("expected one dict or list, got more");
  if (!arguments.positional.empty()) {
    const Value& from = arguments.positional.front();
    if (from.dict() != nullptr) {
      dict = *from.dict();
    } else {
      const auto all = context.items_of(from);
      for (const Value& pair : all->items) {
        const auto parts = context.items_of(pair);
        if (parts->items.size() != 2) throw Failure("expected pairs for dict, got something else");
        dict.set(parts->items[0], parts->items[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.named) dict.set(Value(name), value);
  return dict;
}

Value make_dict(Context& context, const Arguments& arguments) {
  return context.dict(dict_of(context, arguments));
}

Value make_namespace(Context& context, const Arguments& arguments) {
  return context.new_namespace(dict_of(context, arguments));
}

Value raise_exception(Context& context, const Arguments& arguments) {
  ArgumentReader reader(arguments, "raise_exception");
  const std::string message = to_text(context, reader.required("message")).bytes();
  throw Failure("the template refuses the conversation: " + message.substr(0, 500));
}

Value strftime_now(Context& context, const Arguments& arguments) {
  ArgumentReader reader(arguments, "strftime_now");
  const std::string format = expect_text(reader.required("format"), "format").bytes();
  reader.done();
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  if (format.size() > 1000) throw Failure("expected a short format of a time, got a long one");
  std::array<char, 8192> buffer{};
  const std::size_t size = std::strftime(buffer.data(), buffer.size(), format.c_str(), &local);
  return context.text(Text(std::string(buffer.data(), size)));
}

Value function(const std::string& name, std::function<Value(Context&, const Arguments&)> call,
               const Extent& extent = {}) {
  return std::make_shared<const Callable>(Callable{name, std::move(call), extent});
}

// An object whose attributes are values and functions; cycler keeps its place in `at`.
Value cycler(Context& context, const Arguments& arguments) {
  const Value values = context.list(arguments.positional);
  const std::shared_ptr<Sequence> items = values.shared_sequence();
  if (items->items.empty()) throw Failure("expected values to cycle through, got none");
  const auto at = std::make_shared<std::size_t>(0);
  Dict attributes;
  attributes.set(Value("next"), function(
                                    "next",
                                    [items, at](Context&, const Arguments&) {
                                      return items->items[(*at)++ % items->items.size()];
                                    },
                                    items->extent));
  attributes.set(Value("reset"), function("reset", [at](Context&, const Arguments&) {
                   *at = 0;
                   return Value();
                 }));
  return context.new_namespace(std::move(attributes));
}

Value joiner(Context& context, const Arguments& arguments) {
  ArgumentReader reader(arguments, "joiner");
  const std::optional<Value> given = reader.optional("sep");
  reader.done();
  const auto separator =
      std::make_shared<const Text>(given ? to_text(context, *given) : Text(std::string(", ")));
  const auto used = std::make_shared<bool>(false);
  return function("joiner", [separator, used](Context&, const Arguments&) {
    return Value(std::exchange(*used, true) ? *separator : Text());
  });
}

}  // namespace

std::vector<std::pair<std::string, Value>> global_functions() {
  constexpr std::array<std::pair<const char*, Call>, 7> kFunctions = {
      {{"range", range},
       {"dict", make_dict},
       {"namespace", make_namespace},
       {"raise_exception", raise_exception},
       {"strftime_now", strftime_now},
       {"cycler", cycler},
       {"joiner", joiner}}};
  std::vector<std::pair<std::string, Value>> functions;
  functions.reserve(kFunctions.size());
  for (const auto& [name, call] : kFunctions) functions.emplace_back(name, function(name, call));
  return functions;
}

}  // namespace diffllama::jinja
