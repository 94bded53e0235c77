#include "sweep/stop_signal.h"

#include <csignal>

namespace recite {

namespace {
volatile std::sig_atomic_t seen = 0;
void count_signal(int) { seen = seen + 1; }
}  // namespace

void watch_stop_signals() {
  struct sigaction action{};
  action.sa_handler = count_signal;
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaction(signal, &action, nullptr);
}

int stop_signals_seen() { return seen; }

void leave_stop_signals_to_coordinator() {
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) std::signal(signal, SIG_IGN);
}

void outlive_who_reads() { std::signal(SIGPIPE, SIG_IGN); }

}  // namespace recite
