// Sums and copies among the ranks that train one job. Two real backends: MPI (host memory) and NCCL (device memory).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <vector>

#include "base/error.h"

namespace recite {

// A rank of the group died, was cut off, or did not answer before the deadline: the job must run again in a new group.
class PeerLost : public Error {
 public:
  using Error::Error;
};

enum class ElementType { float32, float64, int64, bytes };

class Collective {
 public:
  virtual ~Collective() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // In place: on return `data` (count elements, this backend's kind of memory) holds the sum over the ranks, the same
  // bits on each. NCCL: ordered after the default stream's work; the host waits, polling the communicator's state.
  // Throws PeerLost, and whatever the group's while_waiting throws.
  virtual void all_reduce_sum(void* data, size_t count, ElementType type) = 0;
  virtual void broadcast(void* data, size_t count, ElementType type, int root) = 0;

  // Whether what start_...() begins leaves the caller free to work on (NCCL) or is all done then.
  virtual bool overlaps() const { return false; }
  // Begins a sum, of what the default stream's work so far leaves in `data`, on a stream of its own. Every rank starts
  // the same sums in the same order; any thread may, one at a time. Never calls while_waiting.
  virtual void start_all_reduce_sum(void* data, size_t count, ElementType type) { all_reduce_sum(data, count, type); }
  // Begins a sum of which each rank gets a part, in the same way: of `data` (size() * count elements) `part` (count)
  // gets the sum of the rank()-th `count`. The two share memory on one rank alone.
  virtual void start_reduce_scatter_sum(const void* data, void* part, size_t count, ElementType type) = 0;
  // Begins to bring the ranks' parts together, in the same way: `all` (size() * count elements) gets their `part`s
  // (count) in the order of the ranks. Several go as one.
  struct Gather {
    const void* part;
    void* all;
  };
  virtual void start_all_gather(const std::vector<Gather>& of, size_t count, ElementType type) = 0;
  // The default stream's work from here on sees what was begun. The host does not wait for it.
  virtual void join() {}
  // Returns when what was begun has ended; throws PeerLost.
  virtual void finish() {}
  // Returns when `done` says so of work that may need the peers; throws PeerLost, naming `what`, when it cannot end.
  virtual void wait(const std::function<bool()>& done, const char* what);

  double sum(double value) {
    all_reduce_sum(&value, 1, ElementType::float64);
    return value;
  }
};

// One rank: every operation is the identity, and its part is the whole. A group of one is a group, not a special case.
class SoloCollective final : public Collective {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void all_reduce_sum(void*, size_t, ElementType) override {}
  void broadcast(void*, size_t, ElementType, int) override {}
  void start_reduce_scatter_sum(const void*, void*, size_t, ElementType) override {}
  void start_all_gather(const std::vector<Gather>&, size_t, ElementType) override {}
};

// The ranks of one job. `host` works on host memory (counts, flags, CPU training), `device` on the memory that the job
// trains in: the same object on the CPU, NCCL on a GPU.
struct Group {
  Collective& host;
  Collective& device;
  int rank() const { return host.rank(); }
  int size() const { return host.size(); }
};

}  // namespace recite
