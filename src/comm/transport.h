// Messages between the coordinator (rank 0) and the workers (ranks 1..W), and the groups that workers train in.
//
// Two transports: MPI, for ranks that mpirun started, and a pair of queues, for a coordinator and a worker that are
// threads of one process. Nothing here blocks: a blocked MPI call burns a core, so callers poll and sleep.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "comm/collective.h"

namespace recite {

// The coordinator is gone: a worker has nothing more to do.
class CoordinatorLost : public Error {
 public:
  using Error::Error;
};

struct Message {
  int from = 0;
  std::string body;
};

// The communicators of one job's group, owned. Leaving it (destruction) is not collective.
class FormedGroup {
 public:
  virtual ~FormedGroup() = default;
  virtual Group group() = 0;
};

struct GroupRequest {
  std::vector<int> ranks;               // of the transport, the leader first; all of them must ask for the same group
  std::string name;                     // unique among the groups that live at the same time
  bool on_gpu = false;                  // add a device backend (NCCL) on the current CUDA device
  double deadline = 60;                 // seconds that a rank waits for its peers before it throws PeerLost
  std::function<void()> while_waiting;  // called again and again while a rank waits for its peers; may throw
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::string description() const = 0;  // "Open MPI 5.0.11, ULFM" or "one process"
  // False: the loss of a rank ends the whole run (an MPI without ULFM, or one process).
  virtual bool survives_lost_ranks() const = 0;

  // Queues a message; to a rank that is lost it is dropped.
  virtual void send(int to, std::string body) = 0;
  // The next message from any rank, if one has arrived. Workers hear the coordinator alone, and get CoordinatorLost
  // when it is gone.
  virtual std::optional<Message> receive() = 0;
  // Ranks found dead since the last call (coordinator only), and whether none ever was.
  virtual std::vector<int> take_lost_ranks() = 0;
  virtual bool every_rank_lives() const = 0;

  // Called by every rank in `request.ranks`, each when it and the others have left the group they were in: a rank that
  // waits here may make no progress in MPI, and what it has to tell the old group would not leave it. A group of one
  // never touches MPI. Throws PeerLost.
  virtual std::unique_ptr<FormedGroup> form_group(const GroupRequest& request) = 0;

  // The last call: delivers what is queued and leaves. After a rank was lost MPI_Finalize can hang, so then the process
  // ends here, with exit code 0.
  virtual void leave(bool some_rank_was_lost) = 0;
};

// True when mpirun (or another PMIx launcher) started this process.
bool launched_by_mpi();

// Initialises MPI. One per process.
std::unique_ptr<Transport> make_mpi_transport();

// A coordinator's end (rank 0) and a worker's end (rank 1) in one process; each end may be used by one thread.
std::pair<std::unique_ptr<Transport>, std::unique_ptr<Transport>> make_local_transports();

std::string mpi_library_version();  // callable before MPI is initialised
std::string nccl_version();         // "" in a build without CUDA

}  // namespace recite
