// The commands convert and quantize.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "cli/expectations.h"

namespace diffllama::cli_test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::string generated(const std::string& model) {
  const Result result =
      run_program({"generate", "-m", model, "-p", "To be, or", "--max-new-tokens", "8"});
  expect_success(result);
  return result.out;
}

TEST(ConvertCommand, ThereAndBack) {
  const Scratch scratch;
  const std::string file = scratch.path() / "tiny.gguf";
  const std::string back = scratch.path() / "tiny";
  const Result there = run_program({"convert", kTiny, file});
  expect_success(there);
  EXPECT_EQ(there.out + there.err, "");
  expect_success(run_program({"convert", file, back}));
  EXPECT_EQ(read_file(fs::path(back) / "model.safetensors"),
            read_file(fs::path(kTiny) / "model.safetensors"));
  EXPECT_EQ(read_file(fs::path(back) / "tokenizer.json"),
            read_file(fs::path(kTiny) / "tokenizer.json"));
  EXPECT_EQ(generated(file), generated(kTiny));
}

TEST(ConvertCommand, FailuresLeaveWhatWasThere) {
  const Scratch scratch;
  const std::string broken = scratch.file("broken.gguf", "GGUF\3");
  const std::string old = scratch.file("old.gguf", "old");
  const std::string out = scratch.path() / "out";
  expect_failure(run_program({"convert", broken, out}), 1, HasSubstr("broken.gguf: version"));
  EXPECT_FALSE(fs::exists(out));
  expect_failure(run_program({"quantize", broken, old, "Q8_0"}), 1, HasSubstr("version"));
  expect_failure(run_program({"convert", "/no/such/model", old}), 1, HasSubstr("/no/such/model"));
  expect_failure(run_program({"convert", broken, broken}), 1, HasSubstr("expected another path"));
  EXPECT_EQ(read_file(old), "old");
}

TEST(ConvertCommand, MergesAnAdapter) {
  const Scratch scratch;
  const fs::path adapter = kAdapters / "causal_patterns";
  const std::string inputs = adapter / "inputs.safetensors";
  const std::string wanted = scratch.path() / "wanted.safetensors";
  expect_success(run_program(forward(kCausal, wanted, inputs) + Arguments{"--adapter", adapter}));
  const std::string base = scratch.path() / "base.gguf";
  expect_success(run_program({"convert", kCausal, base}));
  for (const std::string& in : {kCausal, base}) {
    for (const char* name : {"merged", "merged.gguf"}) {
      const fs::path out = scratch.path() / name;
      expect_success(run_program({"convert", "--merge-adapter", adapter, in, out}));
      const std::string found = scratch.path() / "found.safetensors";
      expect_success(run_program(forward(out, found, inputs)));
      EXPECT_EQ(read_file(found), read_file(wanted)) << in << " " << name;
      fs::remove_all(out);
    }
  }
  const std::string plain = scratch.path() / "plain.safetensors";
  expect_success(run_program(forward(kCausal, plain, inputs)));
  EXPECT_NE(read_file(plain), read_file(wanted));
}

TEST(ConvertCommand, AnAdapterThatDoesNotFitLeavesNothing) {
  const Scratch scratch;
  const std::string out = scratch.path() / "out";
  expect_failure(run_program({"convert", "--merge-adapter", kAdapters / "tied_head", kTiny, out}),
                 1, HasSubstr("mis-shaped: base_model.model.model.layers.0.self_attn.o_proj"));
  expect_failure(run_program({"convert", "--merge-adapter", "/no/such/adapter", kCausal, out}), 1,
                 HasSubstr("/no/such/adapter: expected a PEFT adapter"));
  EXPECT_TRUE(fs::is_empty(scratch.path()));
  // Without an adapter there is nothing to do from a directory to a directory.
  expect_failure(run_program({"convert", kCausal, out}), 1, HasSubstr("expected a .gguf file"));
}

TEST(ConvertCommand, AProofThatIsNoNumberFails) {
  const Scratch scratch;
  const fs::path golden = kGoldens / "llama_causal";
  const std::string model = scratch.path() / "nan";
  fs::create_directory(model);
  fs::copy_file(golden / "config.json", fs::path(model) / "config.json");
  std::string weights = read_file(golden / "model.safetensors");
  weights.replace(weights.size() - 4, 4, std::string("\0\0\xc0\x7f", 4));  // of model.norm.weight
  scratch.file("nan/model.safetensors", weights);
  for (const char* to : {"diff_transformer_v2", "dex"}) {
    const std::string out = scratch.path() / "out";
    const Result result = run_program({"convert", "--to", to, model, out});
    EXPECT_EQ(result.status, 1);
    EXPECT_THAT(result.out, HasSubstr("random tokens: nan, of logits up to"));
    EXPECT_THAT(result.err, HasSubstr("expected finite logits before and after, got nan"));
    EXPECT_FALSE(fs::exists(out));
  }
}

TEST(ConvertCommand, NumbersOfNoiseAreChecked) {
  const Scratch scratch;
  const Arguments convert = {"convert", "--to", "dex", kGoldens / "llama_causal",
                             scratch.path() / "out"};
  for (const char* noise : {"nan", "-nan", "inf", "-0.5", "10.5", "1e999", "much"}) {
    expect_failure(run_program(convert + Arguments{"--noise", noise}), 2,
                   HasSubstr(std::string("expected a number from 0 to 10, got ") + noise));
  }
  for (const char* seed : {"-1", "010", "18446744073709551616", "0x10", "1.5", "nan"}) {
    expect_failure(
        run_program(convert + Arguments{"--seed", seed}), 2,
        HasSubstr(std::string("expected an integer from 0 to 18446744073709551615, got ") + seed));
  }
  EXPECT_TRUE(fs::is_empty(scratch.path()));
  expect_success(
      run_program(convert + Arguments{"--noise", "1e-2", "--seed", "18446744073709551615"}));
}

TEST(QuantizeCommand, WritesASmallerModelThatRuns) {
  const Scratch scratch;
  const std::string file = scratch.path() / "tiny.gguf";
  for (const char* type : {"Q8_0", "q4_k_m", "Q5_1"}) {
    expect_success(run_program({"quantize", kTiny, file, type, "-t", "2"}));
    EXPECT_LT(fs::file_size(file), fs::file_size(fs::path(kTiny) / "model.safetensors")) << type;
    EXPECT_EQ(generated(file).empty(), false) << type;
  }
}

TEST(QuantizeCommand, TypesAreNamed) {
  const Scratch scratch;
  const std::string file = scratch.path() / "tiny.gguf";
  expect_failure(run_program({"quantize", kTiny, file, "Q3"}), 2,
                 HasSubstr("expected F32, F16, BF16, Q8_0, Q6_K, Q5_K_M, Q5_1, Q5_0, Q4_K_M, Q4_1, "
                           "Q4_0, got Q3"));
  EXPECT_FALSE(fs::exists(file));
}

}  // namespace
}  // namespace diffllama::cli_test
