#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "diffllama/model.h"
#include "diffllama/tensor.h"
#include "diffllama/tokenizer.h"

namespace [[gnu::visibility("default")]] diffllama {

/// Tokens [begin, end) of a text.
struct TokenSpan {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// What to look at.
struct MicroscopeOptions {
  /// Whose maps are kept, counted from 0; absent: of every layer, of every output head. The
  /// measures are of all either way.
  std::optional<std::int64_t> layer = std::nullopt, head = std::nullopt;
  bool keep_maps = true;  // false: none
  /// Where in the text the answer stands, for AttentionShare::answer.
  std::optional<TokenSpan> answer = std::nullopt;
};

/// How the attention of a token divides: the weights on some of its keys, over the sum of the
/// magnitudes of all of them. Of a softmax map that is the mass there, and the three sum to 1; of
/// A1 - lambda A2, which has weights of both signs, each is between -1 and 1.
struct AttentionShare {
  double answer = 0;  // 0 where no answer was named
  double bos = 0;     // on the first token, unless it is of the answer
  double rest = 0;
};

/// What is measured of one map, of T tokens.
struct MapMeasures {
  AttentionShare last_token;  // of the last token, which predicts what follows
  /// The mean over the tokens behind the answer; without an answer, over all tokens.
  AttentionShare after_answer;
  /// -sum p log p in nats with p the magnitudes over their sum, mean over tokens.
  double entropy = 0;
  /// The magnitudes of the negative weights over that of all, mean over tokens; 0 in a softmax map.
  double negative_mass = 0;
};

/// One output head of a layer, and what is measured of its maps; or the mean over several.
struct AttentionMeasures {
  MapMeasures first;       // A1
  MapMeasures second;      // A2; zeros for a Llama, which has no second map
  MapMeasures difference;  // A1 - lambda A2: what multiplies the values; A1 for a Llama
  double lambda = 0;       // mean over tokens; 0 for a Llama
};

struct AttentionHead {
  /// The heads of q_proj, and of ForwardOutput::attentions, whose maps are A1 and A2; one for a
  /// Llama.
  std::vector<std::int64_t> query_heads;
  /// What A2 is multiplied by for each token, [T]: all equal but in DIFF V2; empty for a Llama.
  std::vector<float> lambda;
  /// Where DEX changes this head: its output o becomes o - dex_lambda W o. The maps are as without.
  std::optional<float> dex_lambda;
  /// float32 [T, T], a row for each token that reads and a column for each that is read: A1, A2 and
  /// A1 - lambda A2. Empty where MicroscopeOptions keeps none; for a Llama only `first` is there.
  Tensor first, second, difference;
  AttentionMeasures measures;
};

/// The largest magnitudes (the paper's Table 5); 0 where there are fewer values.
struct LargestValues {
  double top_1 = 0, top_2 = 0, top_3 = 0, top_10 = 0, top_100 = 0;
  double median = 0;
};

struct AttentionLayer {
  std::vector<AttentionHead> heads;
  AttentionMeasures mean;          // over the heads
  LargestValues attention_logits;  // q.k / sqrt(d) of all maps, where a token may look
  LargestValues hidden_states;     // the layer's output, before the next norm
};

/// The attention of one text, as `forward` computes it.
struct AttentionReport {
  std::string architecture;  // config.json's class
  std::vector<std::int64_t> ids;
  std::vector<std::string> tokens;  // their text, empty without a tokenizer
  std::optional<TokenSpan> answer;
  std::int64_t maps = 0;  // softmax maps of an output head: 2, or 1 for a Llama
  std::vector<AttentionLayer> layers;
  AttentionMeasures mean;          // over the layers
  LargestValues attention_logits;  // of all layers together
  LargestValues hidden_states;
};

/// Runs the model once on `ids` (T of them) and looks into its attention, a layer at a time. The
/// maps are bit for bit ForwardOutput::attentions. Memory: two copies of a layer's maps [H, T, T]
/// and what is kept. Throws InvalidArgument for no ids, ids outside the vocabulary, a layer, head
/// or answer that is not there.
AttentionReport attention_report(const Model& model, std::span<const std::int64_t> ids,
                                 const MicroscopeOptions& options = {});
/// The same with a tokenizer, for AttentionReport::tokens.
AttentionReport attention_report(const Model& model, const Tokenizer& tokenizer,
                                 std::span<const std::int64_t> ids,
                                 const MicroscopeOptions& options = {});

/// The tokens that hold the first place where `answer` stands in `text`, encoded as `encoding`.
/// Throws InvalidArgument where it is empty or stands nowhere.
TokenSpan find_answer(std::string_view text, std::string_view answer, const Encoding& encoding);

/// The keys with the largest weights in row `token` of a map [T, T], the largest first and the
/// earlier of equal ones; at most `count`, none that is not above 0. Throws
/// InvalidArgument for a token that the map lacks.
std::vector<std::pair<std::int64_t, float>> top_reads(const Tensor& map, std::int64_t token,
                                                      std::int64_t count);

/// All of a report as JSON text: measures of every layer and head, and of the heads whose maps
/// were kept the maps and the `reads` tokens that each token reads most, with A2 subtracted and
/// without.
std::string to_json(const AttentionReport& report, std::int64_t reads = 5);
/// The maps kept, named "layers.L.heads.P.first", ".second", ".difference" and ".lambda" [T], and
/// input_ids [1, T].
std::map<std::string, Tensor> to_tensors(const AttentionReport& report);
/// A page that shows the report in a browser: one file, no network. Maps are float16 in it. Throws
/// InvalidArgument where the maps kept would make more than 256 MiB.
std::string to_html(const AttentionReport& report);
/// An image of one head whose maps were kept: A1, A2 and A1 - lambda A2 side by side, a square of
/// pixels for each weight, in the page's colours on white, with the tokens on the axes (letters of
/// Latin, Greek and Cyrillic; boxes for others). Its text chunk "Description" says what
/// it is. Throws InvalidArgument for a head without maps.
std::string to_png(const AttentionReport& report, std::int64_t layer, std::int64_t head);

}  // namespace diffllama
