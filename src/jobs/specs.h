// What a job is made of: plain values, resolved and checked, with one JSON form.
//
// Ranges and defaults of the options are in config/options.cpp; what is written here is already valid by itself
// (check_job() in jobs/job.h checks how the parts fit together).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace recite {

// arXiv 2402.01032, section 2 and appendix A.
enum class Architecture { rope, nope, alibi, hard_alibi, mamba, lstm };
// Those of letters, which models are trained on; then those of text, which pretrained models are asked (src/prompts).
enum class TaskKind { copy, prefix_ngram, suffix_ngram, duplicate_ngram, c4_copy, phone_book, squad };
enum class NgramKey { unique, any };        // which keys of a look-up are drawn (tasks/task.h)
enum class PackedState { carry, reset };    // what a model remembers across the examples packed into one row
enum class ScoreQuirk { none, published };  // published: head dimensions 16.. count twice in nope, alibi, hard_alibi
enum class Precision { float32, tf32, bf16, float64, float16 };  // float16: of pretrained models, not for training
enum class EvalMode { teacher_forced, greedy };
enum class DeviceKind { automatic, cpu, cuda };
enum class TextOrder { standard, random };              // of c4_copy: random shuffles the tokens of a text first
enum class DecodeCleanup { none, published };           // published: no blank before punctuation in decoded text
enum class SquadNormalisation { published, official };  // published: punctuation becomes a blank; official: goes

// The names that users write. parse_* also takes the published code's names (T_rope, ...), any case, and throws
// UsageError with the nearest name otherwise.
std::string_view name_of(Architecture value);
std::string_view name_of(TaskKind value);
std::string_view name_of(NgramKey value);
std::string_view name_of(PackedState value);
std::string_view name_of(ScoreQuirk value);
std::string_view name_of(Precision value);
std::string_view name_of(EvalMode value);
std::string_view name_of(DeviceKind value);
std::string_view name_of(TextOrder value);
std::string_view name_of(DecodeCleanup value);
std::string_view name_of(SquadNormalisation value);
template <class Enum>
Enum parse_name(std::string_view text);  // e.g. parse_name<Architecture>("T_rope")
template <class Enum>
std::vector<std::string> names_of();  // every allowed name, for messages, help and completion

struct TaskSpec {
  TaskKind kind = TaskKind::copy;
  int vocab_size = 26;    // letters, 1..26; the model's vocabulary has 4 more tokens
  int n_gram = 0;         // letters of the key in look-up tasks
  int length_answer = 0;  // letters of the answer; 0: all that the task allows
  NgramKey ngram_key = NgramKey::unique;
};

struct ModelSpec {
  Architecture architecture = Architecture::rope;
  int hidden_size = 1024;
  int layers = 12;
  int heads = 16;            // attention only
  int num_masked_heads = 8;  // hard_alibi only: head i < num_masked_heads sees the last i+1 tokens
  int state_dim = 32;        // mamba only
  double dropout = 0.65;     // lstm only: between layers
  ScoreQuirk score_quirk = ScoreQuirk::none;

  // In what pretrained models differ from those that are trained here: no options, and written and hashed only where
  // they are not as here.
  int intermediate_size = 0;      // attention: hidden channels of the MLP; 0: 4 x hidden_size
  double rotary_share = 0.25;     // rope: of each head's dimensions, those that carry the position
  double rotary_base = 10000;     // rope: how much slower the last pair of dimensions turns than the first
  bool parallel_residual = true;  // attention: attention and MLP read the same stream, not one after the other
  bool tied_embeddings = false;   // attention: the embedding is the output matrix too (mamba's always is)
  double norm_eps = 1e-5;         // attention and mamba
  int expand = 2;                 // mamba: inner channels, in hidden_size
  int conv_width = 4;             // mamba
  int dt_rank = 0;                // mamba; 0: hidden_size / 16, rounded up
  int vocabulary_multiple = 8;    // mamba: the rows of the embedding are a multiple of this

  int64_t mlp_size() const { return intermediate_size > 0 ? intermediate_size : int64_t{4} * hidden_size; }
  int64_t inner_size() const { return int64_t{expand} * hidden_size; }
  int64_t delta_rank() const { return dt_rank > 0 ? dt_rank : (hidden_size + 15) / 16; }
};

// A model that is not trained here but read from a folder, and what it is asked.
struct PretrainedSpec {
  std::string model;       // folder in the Hugging Face layout; "": the job trains its model
  std::string tokenizer;   // tokenizer.json; "": the folder's
  std::string c4_corpus;   // c4_copy: texts, as shards of C4: a file, a folder or a pattern of names
  std::string squad_file;  // squad: the official JSON
  TextOrder text_order = TextOrder::standard;
  DecodeCleanup decode_cleanup = DecodeCleanup::none;
  int squad_bins = 50;      // tokens of context that a bin is wide; its upper edge is its length
  int squad_contexts = 30;  // asked in a bin, at most
  SquadNormalisation squad_normalisation = SquadNormalisation::published;
};

// What a pretrained model's folder says of its size, as far as estimates need it (with ModelSpec).
struct FolderFacts {
  int64_t parameters = 0;  // 0: the folder was not read
  int64_t vocabulary = 0;  // rows of the embedding
};

struct TrainSpec {
  int64_t seed = 0;
  int64_t steps = 2000;
  int epochs = 1;            // multiplies steps, as in the published code
  int batch_size = 8;        // rows of a step, over all ranks of the job
  int micro_batch_size = 0;  // rows of one forward pass on one rank; 0: all of the rank's. Less memory, same gradient
  int min_length = 5;        // letters of the training strings, both ends included
  int max_length = 20;
  int context_length = 220;  // tokens of a packed row
  PackedState packed_state = PackedState::carry;
  double learning_rate = 1e-5;
  int warmup_steps = 100;
  double weight_decay = 0.1;
  double gradient_clip = 1.0;  // global norm; 0: none
  Precision precision = Precision::float32;

  int64_t total_steps() const { return steps * epochs; }
};

struct EvalSpec {
  std::vector<TaskKind> tasks;  // empty: the training task
  std::vector<int> n_grams;     // empty: the training n_gram
  std::vector<int> lengths = {10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
  int batch_size = 8;
  int num_batches = 3;
  int64_t every = 0;               // steps between evaluations during training; 0: only after the last step
  std::vector<int> every_lengths;  // lengths measured every `every` steps; empty: all of `lengths`
  EvalMode mode = EvalMode::teacher_forced;
  int64_t seed = 0;
  int context_length = 0;  // tokens; a longer evaluation string is refused. 0: no limit
  double stop_at_accuracy =
      0;                // training ends once string accuracy on the training task at stop_length reaches it; 0: never
  int stop_length = 0;  // length that stop_at_accuracy looks at; 0: the training task's max_length
};

// Does not change the trained weights: not part of a job's identity.
struct RunSpec {
  DeviceKind device = DeviceKind::automatic;
  double checkpoint_every = 60;  // seconds
  double stall_timeout = 600;    // seconds without a step, after which a worker counts as lost
  int64_t log_every = 10;        // steps between rows of /training
  int threads = 0;               // of each worker; 0: cores of the host / workers on it
  bool save_models = false;
  bool log_samples = false;  // of text tasks: keep each prompt with its prediction and scores
};

// One cell of /evaluations.
struct EvalPoint {
  TaskKind task;
  int n_gram;  // 0 where the task has no key
  int length;
  bool operator==(const EvalPoint&) const = default;
};

void to_json(nlohmann::json&, const TaskSpec&);
void from_json(const nlohmann::json&, TaskSpec&);
void to_json(nlohmann::json&, const ModelSpec&);
void from_json(const nlohmann::json&, ModelSpec&);
void to_json(nlohmann::json&, const PretrainedSpec&);
void from_json(const nlohmann::json&, PretrainedSpec&);
void to_json(nlohmann::json&, const FolderFacts&);
void from_json(const nlohmann::json&, FolderFacts&);
void to_json(nlohmann::json&, const TrainSpec&);
void from_json(const nlohmann::json&, TrainSpec&);
void to_json(nlohmann::json&, const EvalSpec&);
void from_json(const nlohmann::json&, EvalSpec&);
void to_json(nlohmann::json&, const RunSpec&);
void from_json(const nlohmann::json&, RunSpec&);

}  // namespace recite
