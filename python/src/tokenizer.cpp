#include "diffllama/tokenizer.h"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <span>
#include <utility>

#include "bindings.h"
#include "diffllama/chat.h"

namespace diffllama::python {
namespace {

using nb::literals::operator""_a;

// Characters before each byte of a text in UTF-8; empty where each byte is a character.
std::vector<std::size_t> characters_before(std::string_view text) {
  const auto is_ascii = [](char c) { return static_cast<unsigned char>(c) < 128; };
  if (std::ranges::all_of(text, is_ascii)) return {};
  std::vector<std::size_t> counts;
  counts.reserve(text.size() + 1);
  std::size_t count = 0;
  for (const char c : text) {
    const bool begins = (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
    // A byte inside a character belongs to it: the tokenizers library counts it so too.
    counts.push_back(begins ? count++ : count - 1);
  }
  counts.push_back(count);
  return counts;
}

// The first character at or after a token's end.
std::size_t end_in_characters(const std::vector<std::size_t>& counts, std::size_t end) {
  const bool inside = end > 0 && end + 1 < counts.size() && counts[end] == counts[end - 1];
  return counts[end] + (inside ? 1 : 0);
}

// ids, offsets in characters, type ids, word ids and sequence ids (-1: none), special tokens mask.
nb::tuple to_tuple(const Encoding& encoding, std::string_view text, std::string_view pair) {
  const std::vector<std::size_t> counts[] = {characters_before(text), characters_before(pair)};
  nb::list offsets;
  for (std::size_t i = 0; i < encoding.offsets.size(); ++i) {
    const auto [begin, end] = encoding.offsets[i];
    const auto& count = counts[encoding.sequence_ids[i] == 1 ? 1 : 0];
    offsets.append(count.empty() ? nb::make_tuple(begin, end)
                                 : nb::make_tuple(count[begin], end_in_characters(count, end)));
  }
  nb::list special;
  for (const std::uint8_t bit : encoding.special_tokens_mask) special.append(static_cast<int>(bit));
  return nb::make_tuple(encoding.ids, offsets, encoding.type_ids, encoding.word_ids,
                        encoding.sequence_ids, special);
}

nb::tuple encode(const TokenizerHolder& self, std::string_view text,
                 std::optional<std::string_view> pair, bool add_special_tokens) {
  Encoding encoding;
  {
    const nb::gil_scoped_release release;
    encoding =
        pair ? self.tokenizer.encode_pair(text, *pair, {.add_special_tokens = add_special_tokens})
             : self.tokenizer.encode(text, add_special_tokens);
  }
  return to_tuple(encoding, text, pair.value_or(""));
}

// Without special tokens, those written in the text included: they are ordinary text.
nb::tuple encode_untrusted(const TokenizerHolder& self, std::string_view text) {
  Encoding encoding;
  {
    const nb::gil_scoped_release release;
    const TextPart part{.text = text, .trusted = false};
    encoding = self.tokenizer.encode(std::span(&part, 1), false);
  }
  return to_tuple(encoding, text, "");
}

std::vector<std::vector<std::int64_t>> encode_batch(const TokenizerHolder& self,
                                                    const std::vector<std::string>& texts,
                                                    bool add_special_tokens, int threads) {
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  std::vector<std::vector<std::int64_t>> ids;
  for (Encoding& encoding :
       self.tokenizer.encode_batch(views, {.add_special_tokens = add_special_tokens}, threads)) {
    ids.push_back(std::move(encoding.ids));
  }
  return ids;
}

std::vector<std::int64_t> encode_rendered(const TokenizerHolder& self, const RenderedChat& chat,
                                          bool allow_special_in_content) {
  return encode_chat(self.tokenizer, chat, allow_special_in_content);
}

void bind_chat(nb::module_& module) {
  nb::class_<RenderedChat>(module, "RenderedChat")
      .def_ro("text", &RenderedChat::text)
      .def_prop_ro("parts", [](const RenderedChat& self) {
        nb::list parts;
        for (const auto& part : self.parts) parts.append(nb::make_tuple(part.size, part.trusted));
        return parts;
      });
  nb::class_<ChatTemplate>(module, "ChatTemplate", "A model's chat template.")
      .def(nb::init<const std::map<std::string, std::string>&,
                    const std::map<std::string, std::string>&, const std::string&>(),
           "sources"_a, "special_tokens"_a, "where"_a = "chat template")
      .def_static(
          "from_pretrained",
          [](const std::filesystem::path& path) {
            return ChatTemplate::from_pretrained(path, {.file = {}, .warn = python_warnings()});
          },
          "path"_a)
      .def(
          "apply",
          [](const ChatTemplate& self, const std::string& conversation) {
            return self.apply(std::string_view(conversation));
          },
          "conversation"_a, nb::call_guard<nb::gil_scoped_release>());
}

}  // namespace

void bind_tokenizer(nb::module_& module) {
  bind_chat(module);
  nb::class_<TokenizerHolder>(module, "Tokenizer", "Text to token ids and back.")
      .def(
          "__init__",
          [](TokenizerHolder* self, const std::filesystem::path& path) {
            const nb::gil_scoped_release release;
            new (self) TokenizerHolder{Tokenizer::from_pretrained(path, python_warnings())};
          },
          "path"_a)
      .def("encode", &encode, "text"_a, "pair"_a = nb::none(), "add_special_tokens"_a = true)
      .def("encode_untrusted", &encode_untrusted, "text"_a)
      .def("encode_batch", &encode_batch, "texts"_a, "add_special_tokens"_a = true, "threads"_a = 1,
           nb::call_guard<nb::gil_scoped_release>())
      .def("encode_chat", &encode_rendered, "chat"_a, "allow_special_in_content"_a = false,
           nb::call_guard<nb::gil_scoped_release>())
      .def(
          "decode",
          [](const TokenizerHolder& self, const std::vector<std::int64_t>& ids, bool skip) {
            return self.tokenizer.decode(ids, skip);
          },
          "ids"_a, "skip_special_tokens"_a = false, nb::call_guard<nb::gil_scoped_release>())
      .def("end_of_turn_token_ids",
           [](const TokenizerHolder& self) { return end_of_turn_token_ids(self.tokenizer); })
      .def_prop_ro("vocab_size",
                   [](const TokenizerHolder& self) { return self.tokenizer.vocab_size(); })
      .def_prop_ro("bos_token_id",
                   [](const TokenizerHolder& self) { return self.tokenizer.bos_token_id(); })
      .def_prop_ro("eos_token_id",
                   [](const TokenizerHolder& self) { return self.tokenizer.eos_token_id(); })
      .def(
          "token_to_id",
          [](const TokenizerHolder& self, std::string_view token) {
            return self.tokenizer.token_to_id(token);
          },
          "token"_a)
      .def(
          "id_to_token",
          [](const TokenizerHolder& self, std::int64_t id) {
            return self.tokenizer.id_to_token(id);
          },
          "id"_a);
}

}  // namespace diffllama::python
