#include "sweep/roles.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <thread>

#include "sweep/stop_signal.h"
#include "sweep/worker.h"

namespace recite {

namespace {

using Lead = std::function<ExitCode(Transport&, const std::vector<WorkerInfo>&)>;

// Whatever happens, the workers are told to quit.
ExitCode lead_and_dismiss(const std::string& verb, Transport& transport, const Lead& lead, bool& some_rank_was_lost) {
  ExitCode code = ExitCode::internal;
  std::vector<WorkerInfo> workers;
  try {
    watch_stop_signals();
    workers = gather_workers(transport);
    // The launcher's watchdog waits for this.
    if (const char* started = std::getenv("RECITE_STARTED_FILE")) std::ofstream(started) << workers.size() << '\n';
    code = lead(transport, workers);
  } catch (const UsageError& problem) {
    std::cerr << "recite " << verb << ": " << problem.what() << std::endl;
    code = ExitCode::usage;
  } catch (const std::exception& problem) {
    std::cerr << "recite " << verb << ": " << problem.what() << std::endl;
  }
  some_rank_was_lost = !transport.every_rank_lives();
  for (int rank = 1; rank < transport.size(); ++rank) transport.send(rank, encode(Quit{some_rank_was_lost}));
  return code;
}

int leave_as_coordinator(Transport& transport, ExitCode code, bool some_rank_was_lost) {
  std::cout.flush();
  const char* code_file = std::getenv("RECITE_EXIT_CODE_FILE");
  if (code_file != nullptr) std::ofstream(code_file) << static_cast<int>(code) << '\n';
  transport.leave(some_rank_was_lost);
  return code_file != nullptr ? 0 : static_cast<int>(code);
}

int run_under_mpi(const std::string& verb, const Lead& lead) {
  outlive_who_reads();
  Guard guard;
  const std::unique_ptr<Transport> transport = make_mpi_transport();
  bool some_rank_was_lost = false;
  if (transport->rank() == 0) {
    const ExitCode code = lead_and_dismiss(verb, *transport, lead, some_rank_was_lost);
    return leave_as_coordinator(*transport, code, some_rank_was_lost);
  }
  leave_stop_signals_to_coordinator();
  try {
    some_rank_was_lost = run_worker(*transport, &guard);
  } catch (const CoordinatorLost& problem) {
    std::cerr << fmt::format("recite: rank {}: {}\n", transport->rank(), problem.what());
    std::_Exit(EXIT_FAILURE);  // no orderly way out of MPI is left
  }
  transport->leave(some_rank_was_lost);
  return 0;
}

int run_in_one_process(const std::string& verb, const Lead& lead) {
  outlive_who_reads();
  auto [coordinator_end, worker_end] = make_local_transports();
  std::thread worker([&end = *worker_end] {
    try {
      run_worker(end);
    } catch (const std::exception& problem) {
      std::cerr << "recite: the worker ended: " << problem.what() << std::endl;
      std::_Exit(static_cast<int>(ExitCode::internal));
    }
  });
  bool some_rank_was_lost = false;
  const ExitCode code = lead_and_dismiss(verb, *coordinator_end, lead, some_rank_was_lost);
  worker.join();
  return leave_as_coordinator(*coordinator_end, code, some_rank_was_lost);
}

}  // namespace

int run_roles(const std::string& verb, const Lead& lead) {
  return launched_by_mpi() ? run_under_mpi(verb, lead) : run_in_one_process(verb, lead);
}

bool every_worker_has_gpu(const std::vector<WorkerInfo>& workers) {
  return std::all_of(workers.begin(), workers.end(), [](const WorkerInfo& w) { return !w.hello.gpus.empty(); });
}

}  // namespace recite
