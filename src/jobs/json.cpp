#include <fmt/format.h>

#include <type_traits>

#include "base/error.h"
#include "jobs/job.h"

namespace recite {

namespace {

// Each struct lists its members once, for reading and for writing.
template <class Spec, class Visit>
void visit_task(Spec& spec, Visit visit) {
  visit("kind", spec.kind);
  visit("vocab_size", spec.vocab_size);
  visit("n_gram", spec.n_gram);
  visit("length_answer", spec.length_answer);
  visit("ngram_key", spec.ngram_key);
}

template <class Spec, class Visit>
void visit_model(Spec& spec, Visit visit) {
  visit("architecture", spec.architecture);
  visit("hidden_size", spec.hidden_size);
  visit("layers", spec.layers);
  visit("heads", spec.heads);
  visit("num_masked_heads", spec.num_masked_heads);
  visit("state_dim", spec.state_dim);
  visit("dropout", spec.dropout);
  visit("score_quirk", spec.score_quirk);
}

// Those that are written only where they are not the default: most jobs are trained here, and their identity is a hash
// of what is written.
template <class Spec, class Visit>
void visit_pretrained(Spec& spec, Visit visit) {
  visit("intermediate_size", spec.intermediate_size);
  visit("rotary_share", spec.rotary_share);
  visit("rotary_base", spec.rotary_base);
  visit("parallel_residual", spec.parallel_residual);
  visit("tied_embeddings", spec.tied_embeddings);
  visit("norm_eps", spec.norm_eps);
  visit("expand", spec.expand);
  visit("conv_width", spec.conv_width);
  visit("dt_rank", spec.dt_rank);
  visit("vocabulary_multiple", spec.vocabulary_multiple);
}

template <class Spec, class Visit>
void visit_asked(Spec& spec, Visit visit) {
  visit("model", spec.model);
  visit("tokenizer", spec.tokenizer);
  visit("c4_corpus", spec.c4_corpus);
  visit("squad_file", spec.squad_file);
  visit("text_order", spec.text_order);
  visit("decode_cleanup", spec.decode_cleanup);
  visit("squad_bins", spec.squad_bins);
  visit("squad_contexts", spec.squad_contexts);
  visit("squad_normalisation", spec.squad_normalisation);
}

template <class Facts, class Visit>
void visit_folder(Facts& facts, Visit visit) {
  visit("parameters", facts.parameters);
  visit("vocabulary", facts.vocabulary);
}

template <class Spec, class Visit>
void visit_train(Spec& spec, Visit visit) {
  visit("seed", spec.seed);
  visit("steps", spec.steps);
  visit("epochs", spec.epochs);
  visit("batch_size", spec.batch_size);
  visit("micro_batch_size", spec.micro_batch_size);
  visit("min_length", spec.min_length);
  visit("max_length", spec.max_length);
  visit("context_length", spec.context_length);
  visit("packed_state", spec.packed_state);
  visit("learning_rate", spec.learning_rate);
  visit("warmup_steps", spec.warmup_steps);
  visit("weight_decay", spec.weight_decay);
  visit("gradient_clip", spec.gradient_clip);
  visit("precision", spec.precision);
}

template <class Spec, class Visit>
void visit_eval(Spec& spec, Visit visit) {
  visit("tasks", spec.tasks);
  visit("n_grams", spec.n_grams);
  visit("lengths", spec.lengths);
  visit("batch_size", spec.batch_size);
  visit("num_batches", spec.num_batches);
  visit("every", spec.every);
  visit("every_lengths", spec.every_lengths);
  visit("mode", spec.mode);
  visit("seed", spec.seed);
  visit("context_length", spec.context_length);
  visit("stop_at_accuracy", spec.stop_at_accuracy);
  visit("stop_length", spec.stop_length);
}

template <class Spec, class Visit>
void visit_run(Spec& spec, Visit visit) {
  visit("device", spec.device);
  visit("checkpoint_every", spec.checkpoint_every);
  visit("stall_timeout", spec.stall_timeout);
  visit("log_every", spec.log_every);
  visit("threads", spec.threads);
  visit("save_models", spec.save_models);
  visit("log_samples", spec.log_samples);
}

nlohmann::json written(const std::vector<TaskKind>& kinds) {
  nlohmann::json out = nlohmann::json::array();
  for (const TaskKind kind : kinds) out.push_back(name_of(kind));
  return out;
}

template <class Value>
nlohmann::json written(const Value& value) {
  if constexpr (std::is_enum_v<Value>) {
    return name_of(value);
  } else {
    return value;
  }
}

void read(const nlohmann::json& in, std::vector<TaskKind>& kinds) {
  kinds.clear();
  for (const auto& name : in) kinds.push_back(parse_name<TaskKind>(name.get<std::string>()));
}

template <class Value>
void read(const nlohmann::json& in, Value& value) {
  if constexpr (std::is_enum_v<Value>) {
    value = parse_name<Value>(in.get<std::string>());
  } else {
    in.get_to(value);
  }
}

struct Writer {
  nlohmann::json& out;
  template <class Value>
  void operator()(const char* key, const Value& value) const {
    out[key] = written(value);
  }
};

// A key that is not there keeps its default: the job was written before the option existed.
struct Reader {
  const nlohmann::json& in;
  template <class Value>
  void operator()(const char* key, Value& value) const {
    const auto found = in.find(key);
    if (found == in.end()) return;
    try {
      read(*found, value);
    } catch (const nlohmann::json::exception& error) {
      throw Error(fmt::format("job specification, '{}' = {}: {}", key, found->dump(), error.what()));
    }
  }
};

}  // namespace

void to_json(nlohmann::json& out, const TaskSpec& spec) { visit_task(spec, Writer{out}); }
void from_json(const nlohmann::json& in, TaskSpec& spec) { visit_task(spec, Reader{in}); }
void to_json(nlohmann::json& out, const ModelSpec& spec) {
  visit_model(spec, Writer{out});
  nlohmann::json usual, own;
  const ModelSpec trained_here;
  visit_pretrained(trained_here, Writer{usual});
  visit_pretrained(spec, Writer{own});
  for (const auto& [key, value] : own.items())
    if (value != usual[key]) out[key] = value;
}
void from_json(const nlohmann::json& in, ModelSpec& spec) {
  visit_model(spec, Reader{in});
  visit_pretrained(spec, Reader{in});
}
void to_json(nlohmann::json& out, const PretrainedSpec& spec) { visit_asked(spec, Writer{out}); }
void from_json(const nlohmann::json& in, PretrainedSpec& spec) { visit_asked(spec, Reader{in}); }
void to_json(nlohmann::json& out, const FolderFacts& facts) { visit_folder(facts, Writer{out}); }
void from_json(const nlohmann::json& in, FolderFacts& facts) { visit_folder(facts, Reader{in}); }
void to_json(nlohmann::json& out, const TrainSpec& spec) { visit_train(spec, Writer{out}); }
void from_json(const nlohmann::json& in, TrainSpec& spec) { visit_train(spec, Reader{in}); }
void to_json(nlohmann::json& out, const EvalSpec& spec) { visit_eval(spec, Writer{out}); }
void from_json(const nlohmann::json& in, EvalSpec& spec) { visit_eval(spec, Reader{in}); }
void to_json(nlohmann::json& out, const RunSpec& spec) { visit_run(spec, Writer{out}); }
void from_json(const nlohmann::json& in, RunSpec& spec) { visit_run(spec, Reader{in}); }

void to_json(nlohmann::json& out, const Job& job) {
  out = {{"task", job.task},   {"model", job.model}, {"pretrained", job.pretrained},
         {"train", job.train}, {"eval", job.eval},   {"run", job.run},
         {"ranks", job.ranks}};
  if (job.is_pretrained()) out["folder"] = job.folder;
}

void from_json(const nlohmann::json& in, Job& job) {
  const Reader reader{in};
  reader("task", job.task);
  reader("model", job.model);
  reader("pretrained", job.pretrained);
  reader("folder", job.folder);
  reader("train", job.train);
  reader("eval", job.eval);
  reader("run", job.run);
  reader("ranks", job.ranks);
}

}  // namespace recite
