#include "base/json.h"

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/text.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

using nlohmann::json;

// Builds the document while counting what it takes; the callbacks are nlohmann's SAX interface.
// Json: nlohmann::json or ordered_json.
template <class Json>
class DocumentBuilder {
 public:
  DocumentBuilder(const std::string& where, const JsonLimits& limits, std::size_t text_bytes)
      : where_(where), limits_(limits), budget_(text_bytes + limits.extra_bytes) {}

  bool null() { return add(nullptr, 0); }
  bool boolean(bool value) { return add(value, 0); }
  bool number_integer(json::number_integer_t value) { return add(value, 0); }
  bool number_unsigned(json::number_unsigned_t value) { return add(value, 0); }
  bool number_float(json::number_float_t value, const std::string& text) {
    if (!std::isfinite(value)) refuse("a finite number", text.substr(0, 60));
    return add(value, 0);
  }
  bool string(std::string& value) {
    const std::size_t bytes = value.size();
    return add(std::move(value), bytes + kStringBytes);
  }
  bool binary(json::binary_t& /*unused*/) { return false; }
  bool start_object(std::size_t /*unused*/) { return open(Json::object()); }
  bool start_array(std::size_t /*unused*/) { return open(Json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& name) {
    Json& object = *open_.back();
    if (object.contains(name)) {
      refuse("each key once", "the key \"" + name.substr(0, 60) + "\" twice");
    }
    if (object.size() == limits_.members) {
      refuse("objects of at most " + std::to_string(limits_.members) + " members", "more");
    }
    spend(kMapNodeBytes + name.size());
    slot_ = &object[name];
    return true;
  }
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const json::exception& error) {
    std::string what =
        error.what();  // "[json.exception.parse_error.101] parse error at line 1, ...: ..."
    if (const auto end = what.find("] "); end != std::string::npos) what = what.substr(end + 2);
    if (what.size() > 200) what.resize(200);
    throw FormatError(where_ + ": expected JSON, got a " + what + " (byte " +
                      std::to_string(position) + ")");
  }
  Json take() { return std::move(root_); }

 private:
  static constexpr std::size_t kStringBytes = 48;   // a std::string and its allocation
  static constexpr std::size_t kMapNodeBytes = 96;  // a red-black tree node with key and value

  [[noreturn]] void refuse(const std::string& expected, const std::string& found) const {
    throw FormatError(where_ + ": expected JSON with " + expected + ", got " + found);
  }
  void spend(std::size_t bytes) {
    spent_ += bytes;
    if (spent_ > budget_) {
      refuse("a parsed form of at most " + std::to_string(budget_) + " bytes", "more");
    }
  }
  template <class Value>
  Json* place(Value&& value, std::size_t bytes) {
    if (open_.empty()) {
      root_ = std::forward<Value>(value);
      return &root_;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) {
      spend(2 * sizeof(Json) + bytes);  // a growing vector may hold twice its size
      parent.push_back(std::forward<Value>(value));
      return &parent.back();
    }
    spend(bytes);
    *slot_ = std::forward<Value>(value);
    return slot_;
  }
  template <class Value>
  bool add(Value&& value, std::size_t bytes) {
    place(std::forward<Value>(value), bytes);
    return true;
  }
  bool open(Json container) {
    if (open_.size() >= limits_.depth) {
      refuse("at most " + std::to_string(limits_.depth) + " levels of nesting", "more");
    }
    open_.push_back(place(std::move(container), kStringBytes));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  const std::string& where_;
  const JsonLimits& limits_;
  std::size_t budget_;
  std::size_t spent_ = 0;
  Json root_;
  std::vector<Json*> open_;  // containers not yet closed, outermost first; parents do not grow
                             // while a child is open
  Json* slot_ = nullptr;     // where the value of the last key goes
};

// Gives the events of some members to their readers, and all others to a DocumentBuilder.
class MemberReader {
 public:
  MemberReader(const JsonReaders& readers, DocumentBuilder<json> builder)
      : readers_(readers), builder_(std::move(builder)) {}

  bool null() { return reader_ != nullptr ? read(reader_->null()) : builder_.null(); }
  bool boolean(bool value) {
    return reader_ != nullptr ? read(reader_->boolean(value)) : builder_.boolean(value);
  }
  bool number_integer(json::number_integer_t value) {
    return reader_ != nullptr ? read(reader_->number_integer(value))
                              : builder_.number_integer(value);
  }
  bool number_unsigned(json::number_unsigned_t value) {
    return reader_ != nullptr ? read(reader_->number_unsigned(value))
                              : builder_.number_unsigned(value);
  }
  bool number_float(json::number_float_t value, const std::string& text) {
    return reader_ != nullptr ? read(reader_->number_float(value, text))
                              : builder_.number_float(value, text);
  }
  bool string(std::string& value) {
    return reader_ != nullptr ? read(reader_->string(value)) : builder_.string(value);
  }
  bool binary(json::binary_t& /*unused*/) { return false; }
  bool start_object(std::size_t size) {
    path_.emplace_back();
    return reader_ != nullptr ? reader_->start_object(size) : builder_.start_object(size);
  }
  bool start_array(std::size_t size) {
    path_.emplace_back("[]");
    return reader_ != nullptr ? reader_->start_array(size) : builder_.start_array(size);
  }
  bool end_object() {
    path_.pop_back();
    return reader_ != nullptr ? read(reader_->end_object()) : builder_.end_object();
  }
  bool end_array() {
    path_.pop_back();
    return reader_ != nullptr ? read(reader_->end_array()) : builder_.end_array();
  }
  bool key(std::string& name) {
    if (reader_ != nullptr) return reader_->key(name);
    path_.back() = name;
    const auto found = readers_.find(path());
    builder_.key(name);
    if (found != readers_.end()) {
      reader_ = found->second;
      depth_ = path_.size();
    }
    return true;
  }
  bool parse_error(std::size_t position, const std::string& token, const json::exception& error) {
    return builder_.parse_error(position, token, error);
  }
  json take() { return builder_.take(); }

 private:
  std::string path() const {
    std::string joined;
    for (const std::string& name : path_) joined += joined.empty() ? name : "." + name;
    return joined;
  }
  // After an event that may have ended the reader's value.
  bool read(bool goes_on) {
    if (path_.size() > depth_) return goes_on;
    reader_ = nullptr;
    return goes_on && builder_.null();
  }

  const JsonReaders& readers_;
  DocumentBuilder<json> builder_;
  std::vector<std::string> path_;  // the last key of each container that is open; [] of arrays
  json::json_sax_t* reader_ = nullptr;
  std::size_t depth_ = 0;  // of the reader's value
};

template <class Json>
Json parse(std::string_view text, const std::string& where, const JsonLimits& limits) {
  DocumentBuilder<Json> builder(where, limits, text.size());
  json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& where,
                          const JsonLimits& limits) {
  return parse<json>(text, where, limits);
}

nlohmann::ordered_json parse_ordered_json(std::string_view text, const std::string& where,
                                          const JsonLimits& limits) {
  return parse<nlohmann::ordered_json>(text, where, limits);
}

nlohmann::json parse_json(std::string_view text, const std::string& where,
                          const JsonReaders& readers, const JsonLimits& limits) {
  MemberReader reader(readers, DocumentBuilder<json>(where, limits, text.size()));
  json::sax_parse(text.begin(), text.end(), &reader);
  return reader.take();
}

std::string json_excerpt(const nlohmann::json& value) {
  // A large container is not printed whole only to be cut.
  if (value.is_structured() && value.size() > 20) {
    return std::string(value.is_array() ? "an array" : "an object") + " of " +
           std::to_string(value.size());
  }
  const std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  return text.size() > 60 ? shortened(text, 57) : text;
}

}  // namespace diffllama
