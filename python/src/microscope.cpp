#include "diffllama/microscope.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"

namespace diffllama::python {
namespace {

using nb::literals::operator""_a;

AttentionReport report(ModelHolder& self, const std::vector<std::int64_t>& ids,
                       const TokenizerHolder* tokenizer, std::optional<std::int64_t> layer,
                       std::optional<std::int64_t> head,
                       std::optional<std::pair<std::int64_t, std::int64_t>> answer,
                       bool keep_maps) {
  MicroscopeOptions options;
  options.layer = layer;
  options.head = head;
  options.keep_maps = keep_maps;
  if (answer) options.answer = TokenSpan{.begin = answer->first, .end = answer->second};
  return compute(self, [&](const Model& model) {
    return tokenizer == nullptr ? attention_report(model, ids, options)
                                : attention_report(model, tokenizer->tokenizer, ids, options);
  });
}

nb::dict tensors(const AttentionReport& self) {
  nb::dict dict;
  for (auto& [name, tensor] : to_tensors(self)) dict[name.c_str()] = to_numpy(Tensor(tensor));
  return dict;
}

}  // namespace

void bind_microscope(nb::module_& module) {
  nb::class_<AttentionReport>(module, "AttentionReport", "What attention did on a text.")
      .def(
          "json",
          [](const AttentionReport& self, std::int64_t reads) { return to_json(self, reads); },
          "reads"_a = 5)
      .def("tensors", &tensors)
      .def("html", [](const AttentionReport& self) { return to_html(self); })
      .def(
          "png",
          [](const AttentionReport& self, std::int64_t layer, std::int64_t head) {
            const std::string png = to_png(self, layer, head);
            return nb::bytes(png.data(), png.size());
          },
          "layer"_a, "head"_a);
  module.def("attention_report", &report, "model"_a, "ids"_a, "tokenizer"_a.none() = nb::none(),
             "layer"_a = nb::none(), "head"_a = nb::none(), "answer"_a = nb::none(),
             "keep_maps"_a = true);
}

}  // namespace diffllama::python
