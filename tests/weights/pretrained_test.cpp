// Folders written here, and damaged. Those of `transformers` are compared in pretrained_transformers_test.py.
#include "weights/pretrained.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "support/temporary_folder.h"
#include "weights/durable_file.h"
#include "weights/pretrained_folder.h"
#include "weights/safetensors.h"

namespace recite {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

Job small_job(Architecture architecture) {
  Job job;
  job.task.vocab_size = 21;
  job.model.architecture = architecture;
  job.model.hidden_size = 48;
  job.model.layers = 2;
  job.model.heads = 3;
  job.model.num_masked_heads = 2;
  job.model.state_dim = 5;
  return job;
}

std::unique_ptr<Model> save(const std::string& folder, const Job& job) {
  auto model = make_model(job.model, vocabulary_size(job.task), Precision::float32, torch::kCPU, 4);
  save_model_folder(folder, *model, job, 1, 1);
  return model;
}

class OwnFolder : public testing::TestWithParam<Architecture> {};

TEST_P(OwnFolder, OpensAsAPretrainedModel) {
  const TemporaryFolder folder;
  const Job job = small_job(GetParam());
  const auto trained = save(folder / "model", job);
  const PretrainedHeader header = read_pretrained_header(folder / "model");
  EXPECT_EQ(header.spec.architecture, GetParam());
  EXPECT_EQ(header.vocabulary, GetParam() == Architecture::mamba ? 32 : 25);
  EXPECT_EQ(header.stored, Precision::float32);
  EXPECT_EQ(header.parameters, trained->parameter_count());
  EXPECT_EQ(parameter_count(header.spec, header.vocabulary), trained->parameter_count());
  EXPECT_EQ(header.end_of_text, 23);

  const torch::Tensor tokens = torch::arange(19).view({1, 19});
  const torch::NoGradGuard no_grad;
  const auto model = load_pretrained(folder / "model", torch::kCPU, Precision::float32);
  EXPECT_TRUE(torch::equal(model->forward(tokens, {}), trained->forward(tokens, {})));
  for (const Parameter& parameter : model->parameters()) EXPECT_FALSE(parameter.tensor.requires_grad());
}

INSTANTIATE_TEST_SUITE_P(All, OwnFolder,
                         testing::Values(Architecture::rope, Architecture::nope, Architecture::alibi,
                                         Architecture::hard_alibi, Architecture::mamba, Architecture::lstm),
                         [](const auto& instance) { return std::string(name_of(instance.param)); });

class DamagedFolder : public testing::Test {
 protected:
  std::string config() const { return folder_ / "model/config.json"; }
  std::string weights() const { return folder_ / "model/model.safetensors"; }
  void save(Architecture architecture) { recite::save(folder_ / "model", small_job(architecture)); }

  void change_config(const std::function<void(json&)>& change) {
    json read = json::parse(read_text(config()));
    change(read);
    std::ofstream(config()) << read;
  }
  void change_weights(const std::function<void(TensorFile&)>& change) {
    TensorFile read = read_safetensors(weights());
    change(read);
    write_safetensors(weights(), read);
  }

  static std::string refusal(const std::function<void()>& body) {
    try {
      body();
    } catch (const UsageError& error) {
      return error.what();
    }
    return "nothing was refused";
  }
  // Of the header, and so of the whole.
  std::string refusal() const {
    const std::string said = refusal([&] { read_pretrained_header(folder_ / "model"); });
    EXPECT_EQ(refusal([&] { load_pretrained(folder_ / "model", torch::kCPU, Precision::float32); }), said);
    return said;
  }
  std::string refusal_of_bytes(Precision precision = Precision::float32) const {
    EXPECT_NO_THROW(read_pretrained_header(folder_ / "model"));
    return refusal([&] { load_pretrained(folder_ / "model", torch::kCPU, precision); });
  }

  TemporaryFolder folder_;
};

torch::Tensor& tensor_of(TensorFile& file, const std::string& name) {
  for (auto& [own, tensor] : file.tensors)
    if (own == name) return tensor;
  throw Error("no " + name);
}

TEST_F(DamagedFolder, MissingFilesAreNamed) {
  EXPECT_THAT(refusal(), AllOf(HasSubstr(folder_ / "model"), HasSubstr("no such folder")));
  save(Architecture::rope);
  fs::rename(weights(), folder_ / "model/weights.safetensors");
  EXPECT_THAT(refusal(), AllOf(HasSubstr(folder_ / "model"), HasSubstr("pytorch_model.bin.index.json")));
  fs::remove(config());
  EXPECT_THAT(refusal(), AllOf(HasSubstr(config()), HasSubstr("no such file")));
}

struct BadConfig {
  const char* name;
  Architecture architecture;
  json change;  // laid over config.json; null takes a key away
  std::vector<std::string> said;
};

class ConfigRefused : public DamagedFolder, public testing::WithParamInterface<BadConfig> {};

TEST_P(ConfigRefused, ByFileAndKey) {
  save(GetParam().architecture);
  change_config([](json& config) { config.merge_patch(GetParam().change); });
  const std::string said = refusal();
  EXPECT_THAT(said, HasSubstr(config()));
  for (const std::string& part : GetParam().said) EXPECT_THAT(said, HasSubstr(part));
}

using enum Architecture;
const BadConfig bad_configs[] = {
    {"llama", rope, {{"model_type", "llama"}}, {"model_type = \"llama\"", "gpt_neox, mamba"}},
    {"mamba2", mamba, {{"model_type", "mamba2"}}, {"model_type = \"mamba2\""}},
    {"no_type", rope, {{"model_type", nullptr}}, {"lacks model_type"}},
    {"no_size", rope, {{"hidden_size", nullptr}}, {"lacks hidden_size"}},
    {"no_vocabulary", mamba, {{"vocab_size", nullptr}}, {"lacks vocab_size"}},
    {"a_text", rope, {{"num_hidden_layers", "2"}}, {"num_hidden_layers = \"2\"", "a positive integer"}},
    {"zero", rope, {{"num_hidden_layers", 0}}, {"num_hidden_layers = 0"}},
    {"a_fraction", mamba, {{"hidden_size", 48.5}}, {"hidden_size = 48.5"}},
    {"absurd", rope, {{"hidden_size", 1e15}}, {"hidden_size = "}},
    {"heads", rope, {{"num_attention_heads", 5}}, {"num_attention_heads = 5", "divisors of hidden_size = 48"}},
    {"wide_heads", rope, {{"hidden_size", 3000}}, {"num_attention_heads = 3", "at least 12"}},
    {"other_gelu", rope, {{"hidden_act", "gelu_new"}}, {"hidden_act = \"gelu_new\"", "\"gelu\""}},
    {"no_bias", rope, {{"attention_bias", false}}, {"attention_bias = false", "true"}},
    {"flag", rope, {{"use_parallel_residual", 1}}, {"use_parallel_residual = 1", "true or false"}},
    {"eps", rope, {{"layer_norm_eps", -1e-5}}, {"layer_norm_eps", "a positive number"}},
    {"rotary", rope, {{"rotary_pct", 1.5}}, {"rotary_pct = 1.5", "16 dimensions"}},
    {"scaled", rope, {{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}}, {"rope_scaling: type = \"linear\""}},
    {"scaled_in_transformers_5",
     rope,
     {{"rope_parameters", {{"rope_type", "yarn"}, {"rope_theta", 10000.0}}}},
     {"rope_parameters: rope_type = \"yarn\"", "\"default\""}},
    {"ends", rope, {{"eos_token_id", {1, 2}}}, {"eos_token_id = [1,2]"}},
    {"projections_with_bias", mamba, {{"use_bias", true}}, {"use_bias = true"}},
    {"convolution_without_bias", mamba, {{"use_conv_bias", false}}, {"use_conv_bias = false"}},
    {"wide_convolution", mamba, {{"conv_kernel", 5}}, {"conv_kernel = 5", "1..4"}},
    {"many_states", mamba, {{"state_size", 257}}, {"state_size = 257", "1..256"}},
    {"untied", mamba, {{"tie_word_embeddings", false}}, {"tie_word_embeddings = false"}},
    {"relu", mamba, {{"hidden_act", "relu"}}, {"hidden_act = \"relu\""}},
    {"inner", mamba, {{"intermediate_size", 100}}, {"intermediate_size = 100", "96"}},
    {"spec", lstm, {{"architecture", "gru"}}, {"gru"}},
};
INSTANTIATE_TEST_SUITE_P(Files, ConfigRefused, testing::ValuesIn(bad_configs),
                         [](const auto& instance) { return std::string(instance.param.name); });

TEST_F(DamagedFolder, AConfigurationThatIsNoJsonIsNamed) {
  save(rope);
  std::ofstream(config()) << "{\"model_type\": ";
  EXPECT_THAT(refusal(), AllOf(HasSubstr(config()), HasSubstr("JSON")));
}

TEST_F(DamagedFolder, TensorsThatDoNotFitAreNamed) {
  const std::string name = "gpt_neox.layers.1.attention.dense.weight";
  save(rope);
  const std::string whole = read_text(weights());
  const auto refused = [&](const std::function<void(TensorFile&)>& change) {
    std::ofstream(weights()) << whole;
    change_weights(change);
    const std::string said = refusal();
    EXPECT_THAT(said, HasSubstr(folder_ / "model"));
    return said;
  };
  EXPECT_THAT(refused([&](TensorFile& file) {
                std::erase_if(file.tensors, [&](const auto& tensor) { return tensor.first == name; });
              }),
              HasSubstr("lack '" + name + "'"));
  EXPECT_THAT(refused([&](TensorFile& file) { tensor_of(file, name) = torch::zeros({48, 47}); }),
              AllOf(HasSubstr(weights()), HasSubstr(name), HasSubstr("(48, 47)"), HasSubstr("(48, 48)")));
  EXPECT_THAT(refused([&](TensorFile& file) { tensor_of(file, name) = torch::zeros({48, 48}, torch::kInt32); }),
              AllOf(HasSubstr(name), HasSubstr("Int"), HasSubstr("bfloat16")));
  EXPECT_THAT(refused([&](TensorFile& file) { file.tensors.emplace_back("lora.weight", torch::zeros({2})); }),
              AllOf(HasSubstr(weights()), HasSubstr("'lora.weight'")));
  EXPECT_THAT(refused([&](TensorFile& file) {
                file.tensors.emplace_back("lm_head.weight", tensor_of(file, "embed_out.weight"));
              }),
              AllOf(HasSubstr("'lm_head.weight'"), HasSubstr("'embed_out.weight'")));
}

TEST_F(DamagedFolder, AVocabularyThatIsNotTheEmbeddingsIsNamed) {
  save(mamba);
  change_config([](json& config) { config["vocab_size"] = 40; });
  EXPECT_THAT(refusal(), AllOf(HasSubstr("backbone.embeddings.weight"), HasSubstr("(32, 48)"), HasSubstr("(40, 48)")));
}

TEST_F(DamagedFolder, BuffersOfOldVersionsArePassedOver) {
  save(rope);
  change_weights([](TensorFile& file) {
    file.tensors.emplace_back("gpt_neox.layers.0.attention.bias", torch::ones({1, 1, 9, 9}, torch::kBool));
    file.tensors.emplace_back("gpt_neox.layers.1.attention.masked_bias", torch::full({}, -1e9));
    file.tensors.emplace_back("gpt_neox.layers.1.attention.rotary_emb.inv_freq", torch::ones({2}));
  });
  EXPECT_NO_THROW(load_pretrained(folder_ / "model", torch::kCPU, Precision::float32));
}

TEST_F(DamagedFolder, ACopyOfTheEmbeddingMustBeOne) {
  save(mamba);
  change_weights([](TensorFile& file) {
    file.tensors.emplace_back("lm_head.weight", tensor_of(file, "backbone.embeddings.weight").clone());
  });
  EXPECT_NO_THROW(load_pretrained(folder_ / "model", torch::kCPU, Precision::float32));
  change_weights([](TensorFile& file) { tensor_of(file, "lm_head.weight")[31][47] += 1; });
  EXPECT_THAT(refusal_of_bytes(), AllOf(HasSubstr(weights()), HasSubstr("'lm_head.weight' is not the embedding")));
}

TEST_F(DamagedFolder, ValuesThatAreNotFiniteAreNamed) {
  const std::string name = "gpt_neox.layers.1.mlp.dense_4h_to_h.weight";
  save(rope);
  change_weights([&](TensorFile& file) { tensor_of(file, name)[3][4] = 1e6; });
  EXPECT_THAT(refusal_of_bytes(Precision::float16), AllOf(HasSubstr(weights()), HasSubstr(name), HasSubstr("Half")));
  EXPECT_EQ(refusal_of_bytes(Precision::bf16), "nothing was refused");
  change_weights([&](TensorFile& file) { tensor_of(file, name)[3][4] = NAN; });
  EXPECT_THAT(refusal_of_bytes(), AllOf(HasSubstr(weights()), HasSubstr(name), HasSubstr("not finite")));
}

class Sharded : public DamagedFolder {
 protected:
  void SetUp() override {
    save(rope);
    const TensorFile file = read_safetensors(weights());
    fs::remove(weights());
    const size_t half = file.tensors.size() / 2;
    for (size_t t = 0; t < file.tensors.size(); ++t) {
      shards_[t < half].tensors.push_back(file.tensors[t]);
      index_["weight_map"][file.tensors[t].first] = names[t < half];
    }
    write();
  }
  void write() {
    for (int s = 0; s < 2; ++s) write_safetensors(shard(s), shards_[s]);
    std::ofstream(index()) << index_;
  }
  std::string shard(int s) const { return folder_ / "model" + "/" + names[s]; }
  std::string index() const { return weights() + ".index.json"; }

  static constexpr const char* names[] = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"};
  TensorFile shards_[2];
  json index_;
};

TEST_F(Sharded, IsTheSameModel) {
  const TemporaryFolder other;
  const auto whole = recite::save(other / "model", small_job(rope));
  const auto model = load_pretrained(folder_ / "model", torch::kCPU, Precision::float32);
  for (size_t p = 0; p < whole->parameters().size(); ++p)
    EXPECT_TRUE(torch::equal(model->parameters()[p].tensor, whole->parameters()[p].tensor));
}

TEST_F(Sharded, DamageIsNamed) {
  fs::resize_file(shard(1), fs::file_size(shard(1)) - 1);
  EXPECT_THAT(refusal(), HasSubstr(shard(1)));
  fs::remove(shard(1));
  EXPECT_THAT(refusal(), AllOf(HasSubstr(shard(1)), HasSubstr("no such file"), HasSubstr(index())));
  std::ofstream(index()) << "[]";
  EXPECT_THAT(refusal(), AllOf(HasSubstr(index()), HasSubstr("weight_map")));

  const std::string moved = shards_[0].tensors.front().first;
  index_["weight_map"][moved] = names[1];
  write();
  EXPECT_THAT(refusal(), AllOf(HasSubstr(shard(0)), HasSubstr(moved)));
  index_["weight_map"][moved] = "../elsewhere.safetensors";
  write();
  EXPECT_THAT(refusal(), AllOf(HasSubstr(index()), HasSubstr("../elsewhere.safetensors")));
  index_["weight_map"].erase(moved);
  write();
  EXPECT_THAT(refusal(), AllOf(HasSubstr(shard(0)), HasSubstr(moved)));
  index_["weight_map"][moved] = names[0];
  index_["weight_map"]["one.too.many"] = names[0];
  write();
  EXPECT_THAT(refusal(), AllOf(HasSubstr(shard(0)), HasSubstr("one.too.many"), HasSubstr(index())));
  shards_[1].tensors.emplace_back(moved, shards_[0].tensors.front().second);
  write();
  EXPECT_THAT(refusal(), AllOf(HasSubstr(shard(1)), HasSubstr(moved)));
}

// "VmHWM", "VmRSS": bytes.
double memory(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(key + ":")) return std::stod(line.substr(key.size() + 1)) * 1024;
  throw Error("no " + key);
}

TEST(LoadPretrained, TakesLittleMoreMemoryThanTheModel) {
  const TemporaryFolder folder;
  Job job = small_job(rope);
  job.model.hidden_size = 1024;
  job.model.heads = 16;
  const double parameters = static_cast<double>(save(folder / "model", job)->parameter_count());  // 25.2 M
  const double largest = 4.0 * 1024 * 1024;
  std::ofstream("/proc/self/clear_refs") << 5;  // VmHWM begins anew
  const double before = memory("VmRSS");
  const auto model = load_pretrained(folder / "model", torch::kCPU, Precision::bf16);
  EXPECT_LE(memory("VmHWM") - before, 2 * parameters + 3 * 4 * largest);
  EXPECT_LT(3 * 4 * largest, 4 * parameters) << "else a file held in memory would pass";
}

}  // namespace
}  // namespace recite
