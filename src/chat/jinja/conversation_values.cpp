#include "chat/jinja/conversation_values.h"

#include <cmath>
#include <limits>

#include <nlohmann/json.hpp>

#include "diffllama/error.h"

namespace diffllama::jinja {
namespace {

using nlohmann::json;

constexpr std::size_t kMostLevels = 128;
constexpr std::size_t kExtraBytes = std::size_t{64} << 20;
constexpr std::size_t kNodeBytes = 128;  // a text, list or dict on the heap, or an entry's index

/// Builds the value while counting what it takes; the callbacks are nlohmann's SAX interface.
class ValueBuilder {
 public:
  ValueBuilder(const std::string& where, std::size_t text_bytes)
      : where_(where), budget_(text_bytes + kExtraBytes) {}

  bool null() { return add(Value::none(true), 0); }
  bool boolean(bool value) { return add(Value(value, true), 0); }
  bool number_integer(json::number_integer_t value) {
    return add(Value(std::int64_t{value}, true), 0);
  }
  bool number_unsigned(json::number_unsigned_t value) {
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      refuse("integers of 64 bits", std::to_string(value));
    }
    return number_integer(static_cast<std::int64_t>(value));
  }
  bool number_float(json::number_float_t value, const std::string& text) {
    if (!std::isfinite(value)) refuse("finite numbers", text.substr(0, 60));
    if (text.find_first_of(".eE") == std::string::npos) {
      refuse("integers of 64 bits", text.substr(0, 60));
    }
    return add(Value(value, true), 0);
  }
  bool string(std::string& value) {
    const std::size_t bytes = value.size();
    return add(Value(Text(std::move(value), true)), bytes + kNodeBytes);
  }
  bool binary(json::binary_t& /*unused*/) { return false; }
  bool start_object(std::size_t /*unused*/) { return open(true); }
  bool start_array(std::size_t /*unused*/) { return open(false); }
  bool key(std::string& name) {
    Level& level = levels_.back();
    spend(2 * kNodeBytes + 2 * name.size());
    if (level.dict->find(std::string_view(name)) != nullptr) {
      refuse("each key once", "the key \"" + name.substr(0, 60) + "\" twice");
    }
    level.key = Value(Text(std::move(name), true));
    return true;
  }
  bool end_object() {
    Value dict(std::shared_ptr<const Dict>(std::move(levels_.back().dict)));
    levels_.pop_back();
    return add(std::move(dict), 0);
  }
  bool end_array() {
    Value list(std::move(levels_.back().list));
    levels_.pop_back();
    return add(std::move(list), 0);
  }
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const json::exception& error) {
    std::string what = error.what();
    if (const auto end = what.find("] "); end != std::string::npos) what = what.substr(end + 2);
    throw FormatError(where_ + ": expected JSON, got a " + what.substr(0, 200) + " (byte " +
                      std::to_string(position) + ")");
  }
  Value take() { return std::move(root_); }

 private:
  // A container that is not closed yet: one of the two.
  struct Level {
    std::shared_ptr<Dict> dict;
    std::shared_ptr<Sequence> list;
    Value key;  // of the dict's next entry
  };

  [[noreturn]] void refuse(const std::string& expected, const std::string& found) const {
    throw FormatError(where_ + ": expected JSON with " + expected + ", got " + found);
  }
  void spend(std::size_t bytes) {
    spent_ += bytes;
    if (spent_ > budget_) {
      refuse("a parsed form of at most " + std::to_string(budget_) + " bytes", "more");
    }
  }
  bool open(bool is_dict) {
    if (levels_.size() >= kMostLevels) {
      refuse("at most " + std::to_string(kMostLevels) + " levels of nesting", "more");
    }
    spend(kNodeBytes);
    Level& level = levels_.emplace_back();
    if (is_dict) {
      level.dict = std::make_shared<Dict>();
    } else {
      level.list = std::make_shared<Sequence>();
    }
    return true;
  }
  bool add(Value value, std::size_t bytes) {
    spend(bytes + 2 * sizeof(Value));
    if (levels_.empty()) {
      root_ = std::move(value);
    } else if (Level& level = levels_.back(); level.dict != nullptr) {
      level.dict->set(level.key, std::move(value));
    } else {
      level.list->extent.hold(value.extent());
      level.list->items.push_back(std::move(value));
    }
    return true;
  }

  const std::string& where_;
  std::size_t budget_;
  std::size_t spent_ = 0;
  std::vector<Level> levels_;
  Value root_;
};

}  // namespace

Value parse_json_value(std::string_view text, const std::string& where) {
  ValueBuilder builder(where, text.size());
  json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

}  // namespace diffllama::jinja
