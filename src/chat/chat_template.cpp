#include <algorithm>
#include <array>
#include <utility>

#include <nlohmann/json.hpp>

#include "chat/jinja/conversation_values.h"
#include "chat/jinja/interpreter.h"
#include "diffllama/chat.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

using jinja::Dict;
using jinja::Sequence;
using jinja::Text;
using jinja::Value;

constexpr std::size_t kMostSourceBytes = std::size_t{4} << 20;
// A template may handle what it is given a few times, however long that is.
constexpr std::uint64_t kBytesOfAByte = 32;

// Names of turns. A template may put them into a token, as in <|user|>; any other role is content.
constexpr std::array<std::string_view, 10> kRoles = {
    "system", "user",     "assistant",   "tool",  "developer",
    "model",  "function", "environment", "human", "ipython"};

// The role, where it is a known one, counts as the template's own text.
Value with_trusted_role(const Value& message) {
  const Value* role = message.dict()->find("role");
  const Text* name = role == nullptr ? nullptr : role->text();
  if (name == nullptr || std::ranges::find(kRoles, name->bytes()) == kRoles.end()) return message;
  Dict copy = *message.dict();
  copy.set(Value("role"), Value(name->bytes()));
  return std::make_shared<const Dict>(std::move(copy));
}

Value trusted_roles(const Value& messages, const std::string& where) {
  if (!messages.is_sequence(Sequence::Kind::list)) {
    throw FormatError(where + ": messages: expected a list of messages, got " +
                      jinja::type_name(messages));
  }
  const auto list = std::make_shared<Sequence>();
  for (const Value& message : messages.sequence()->items) {
    if (message.dict() == nullptr) {
      throw FormatError(where + R"(: messages: expected objects such as {"role": "user", )" +
                        R"("content": "..."}, got )" + jinja::type_name(message));
    }
    list->items.push_back(with_trusted_role(message));
    list->extent.hold(list->items.back().extent());
  }
  return list;
}

}  // namespace

struct [[gnu::visibility("hidden")]] ChatTemplate::Impl {
  std::string where;
  std::map<std::string, jinja::Body> templates;
  jinja::Variables variables;  // the special tokens

  // The template for a conversation with or without tools, and its name.
  const std::pair<const std::string, jinja::Body>& choose(bool has_tools) const {
    auto found = templates.find("tool_use");
    if (!has_tools || found == templates.end()) found = templates.find("default");
    if (found != templates.end()) return *found;
    std::string names;
    for (const auto& [name, body] : templates) names += (names.empty() ? "" : ", ") + name;
    throw FormatError(where + ": expected a chat template named default, got " + names);
  }
};

namespace {

// Where one of `count` templates stands, for messages.
std::string place_of(const std::string& name, const std::string& where, std::size_t count) {
  if (count == 1) return where;
  return std::string(where).append(" (").append(name).append(")");
}

}  // namespace

ChatTemplate::ChatTemplate(const std::map<std::string, std::string>& sources,
                           const std::map<std::string, std::string>& special_tokens,
                           const std::string& where) {
  auto impl = std::make_shared<Impl>();
  impl->where = where;
  for (const auto& [name, source] : sources) {
    const std::string its_where = place_of(name, where, sources.size());
    if (source.size() > kMostSourceBytes) {
      throw FormatError(its_where + ": expected a chat template of at most " +
                        std::to_string(kMostSourceBytes) + " bytes, got " +
                        std::to_string(source.size()));
    }
    impl->templates.emplace(name, jinja::parse_template(source, its_where));
  }
  for (const auto& [name, token] : special_tokens) impl->variables.emplace_back(name, Value(token));
  impl_ = std::move(impl);
}

RenderedChat ChatTemplate::apply(std::string_view conversation, const std::string& where) const {
  const Value given = jinja::parse_json_value(conversation, where);
  const Value* messages = given.dict() == nullptr ? nullptr : given.dict()->find("messages");
  if (messages == nullptr) {
    throw FormatError(where + ": expected an object with \"messages\", got " +
                      (given.dict() == nullptr ? jinja::type_name(given) : "one without"));
  }
  // Of two variables of one name the later counts.
  jinja::Variables variables = {
      {"tools", Value()}, {"documents", Value()}, {"add_generation_prompt", Value(false)}};
  variables.insert(variables.end(), impl_->variables.begin(), impl_->variables.end());
  for (const auto& [name, value] : given.dict()->entries) {
    variables.emplace_back(name.text()->bytes(), value);
  }
  variables.emplace_back("messages", trusted_roles(*messages, where));

  jinja::Limits limits;
  limits.bytes += kBytesOfAByte * conversation.size();
  limits.steps += conversation.size();
  const Value* tools = given.dict()->find("tools");
  const auto& [name, body] = impl_->choose(tools != nullptr && !tools->is_none());
  jinja::Rendered rendered =
      jinja::render(body, variables, limits, place_of(name, impl_->where, impl_->templates.size()));
  RenderedChat chat{rendered.text.bytes(), {}, std::move(rendered.generated)};
  std::size_t begin = 0;
  for (const Text::Run& run : rendered.text.runs()) {
    chat.parts.push_back({run.end - std::exchange(begin, run.end), !run.content});
  }
  return chat;
}

RenderedChat ChatTemplate::apply(std::span<const ChatMessage> messages,
                                 bool add_generation_prompt) const {
  nlohmann::json conversation = {{"messages", nlohmann::json::array()},
                                 {"add_generation_prompt", add_generation_prompt}};
  for (const ChatMessage& message : messages) {
    conversation["messages"].push_back({{"role", message.role}, {"content", message.content}});
  }
  return apply(conversation.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace diffllama
