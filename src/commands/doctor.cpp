// recite doctor: each check is a function that says what it saw; what it throws is a failed check.
#include <fmt/format.h>
#include <torch/torch.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/build_info.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/host.h"
#include "base/text.h"
#include "comm/transport.h"
#include "commands/commands.h"
#include "results/reader.h"
#include "results/writer.h"
#include "sweep/device.h"

namespace recite {

namespace {

namespace fs = std::filesystem;

enum class Verdict { ok, warning, failed };

struct Finding {
  Verdict verdict = Verdict::ok;
  std::string says;
  std::string advice = {};  // what to do, where it is not ok
};

struct Check {
  const char* name;
  Finding (*look)();
  const char* advice;  // when it throws
};

Finding look_at_build() { return {Verdict::ok, build_description()}; }

Finding look_at_torch() {
  const torch::Tensor a = torch::arange(6, torch::kFloat32).reshape({2, 3});
  const double trace = torch::matmul(a, a.t()).trace().item<double>();
  if (trace != 55) throw Error(fmt::format("a product of matrices has the trace {}, and it should be 55", trace));
  return {Verdict::ok, fmt::format("{} multiplies, {} threads", TORCH_VERSION, at::get_num_threads())};
}

Finding look_at_gpu() {
  const std::vector<std::string> names = gpu_names();
  if (!build_info().cuda) {
    return {Verdict::warning, "none: this build is for the CPU alone",
            "where there is a GPU, build with -DRECITE_CUDA=on (CUDA toolkit 13)"};
  }
  if (names.empty()) {
    return {
        Verdict::warning, "none is seen",
        "where there is one: nvidia-smi must list it, CUDA_VISIBLE_DEVICES must not hide it, and the driver must be "
        "of CUDA 13 or later"};
  }
  const torch::Tensor ones = torch::ones({64, 64}, torch::kCUDA);
  const double sum = torch::matmul(ones, ones).sum().item<double>();
  if (sum != 64.0 * 64 * 64)
    throw Error(fmt::format("a product on the GPU sums to {}, and it should be {}", sum, 64 * 64 * 64));
  return {Verdict::ok, fmt::format("{} x {}", names.size(), names.front())};
}

Finding look_at_mpi() {
  const std::string version = mpi_library_version();
  if (version.find("Open MPI") == std::string::npos) {
    return {Verdict::warning, version, "Open MPI 5 is what recite is tested with (RECITE_MPI_DIR at configure time)"};
  }
  return {Verdict::ok, version};
}

Finding look_at_launcher() {
  if (launched_by_mpi()) return {Verdict::ok, "this process was started by mpirun"};
  return {Verdict::ok, "one process; launch/recite -n W starts W workers and a coordinator"};
}

// A folder of its own, gone with this object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "recite-doctor-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr)
      throw Error(fmt::format("no folder can be made in {}", fs::temp_directory_path().string()));
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

Finding look_at_results() {
  const TemporaryFolder folder;
  const std::string path = (folder.path() / "doctor.h5").string();
  ResultsWriter writer(path, "doctor");
  EventRow event;
  event.message = "written";
  writer.append(event);
  const ResultsContents seen = read_results(path);
  if (seen.events.size() != 1 || seen.events.front().message != event.message) {
    throw Error("a reader does not see the row that a writer has just appended");
  }
  return {Verdict::ok, fmt::format("{}: a row is read while the file is written", results_library_version())};
}

Finding look_at_cores() {
  const int cores = available_cores();
  if (const char* threads = std::getenv("OMP_NUM_THREADS"); threads && std::atoi(threads) > cores) {
    return {Verdict::warning, fmt::format("{} cores, but OMP_NUM_THREADS = {}", cores, threads),
            "unset OMP_NUM_THREADS: run.threads sets the threads of each worker"};
  }
  return {Verdict::ok, fmt::format("{}", cores)};
}

Finding look_at_memory() {
  const double page = static_cast<double>(sysconf(_SC_PAGESIZE));
  const double all = page * static_cast<double>(sysconf(_SC_PHYS_PAGES));
  const double free = page * static_cast<double>(sysconf(_SC_AVPHYS_PAGES));
  const std::string says = fmt::format("{}, {} of it free", bytes(all), bytes(free));
  if (all < 4.0 * (1 << 30)) {
    return {Verdict::warning, says, "a model of the paper's size needs about 3 GiB a worker: see `recite plan FILE`"};
  }
  return {Verdict::ok, says};
}

// The clock dates every row, and a Slurm requeue compares dates of several hosts.
Finding look_at_clock() {
  const auto seconds = static_cast<int64_t>(unix_time());
  constexpr int64_t year_2025 = 1735689600;
  if (seconds < year_2025)
    return {Verdict::warning, "the date lies before 2025", "set the clock: rows are dated by it"};
  return {Verdict::ok, fmt::format("{} s since 1970", seconds)};
}

constexpr Check checks[] = {
    {"build", look_at_build, ""},
    {"LibTorch", look_at_torch, "install the pinned wheel again: launch/setup.sh"},
    {"GPU", look_at_gpu, "run nvidia-smi; run.device = cpu goes without"},
    {"MPI", look_at_mpi, "install the pinned wheel again: launch/setup.sh"},
    {"launch", look_at_launcher, ""},
    {"results", look_at_results, "TMPDIR must name a folder that can be written, with room"},
    {"cores", look_at_cores, ""},
    {"memory", look_at_memory, ""},
    {"clock", look_at_clock, ""},
};

Finding finding_of(const Check& check) {
  try {
    return check.look();
  } catch (const std::exception& error) {
    return {Verdict::failed, error.what(), check.advice};
  }
}

void print(const Check& check, const Finding& finding) {
  static constexpr const char* words[] = {"ok", "warning", "failed"};
  fmt::print("{:<8} {:<9} {}{}{}\n", words[static_cast<int>(finding.verdict)], check.name, finding.says,
             finding.advice.empty() ? "" : "; ", finding.advice);
}

}  // namespace

int doctor_command(const std::vector<std::string>& arguments) {
  if (arguments_of("doctor", arguments).help) return static_cast<int>(ExitCode::done);
  bool failed = false;
  for (const Check& check : checks) {
    const Finding finding = finding_of(check);
    print(check, finding);
    failed = failed || finding.verdict == Verdict::failed;
  }
  return static_cast<int>(failed ? ExitCode::internal : ExitCode::done);
}

}  // namespace recite
