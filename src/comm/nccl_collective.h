// The NCCL backend of Collective: device memory of the current CUDA device, on a stream beside CUDA's default stream.
#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

#include "comm/transport.h"

namespace recite {

// Every operation of NCCL is started non-blocking and polled together with the caller's while_waiting: a dead peer, a
// word from the coordinator or the deadline ends the wait, whichever comes first.
class NcclCollective final : public Collective {
 public:
  // `host` carries the communicator's id to the ranks of the group. Throws PeerLost.
  NcclCollective(Collective& host, const GroupRequest& request);
  ~NcclCollective() override;
  NcclCollective(const NcclCollective&) = delete;
  NcclCollective& operator=(const NcclCollective&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void all_reduce_sum(void* data, size_t count, ElementType type) override;
  void broadcast(void* data, size_t count, ElementType type, int root) override;
  bool overlaps() const override { return true; }
  void start_all_reduce_sum(void* data, size_t count, ElementType type) override;
  void start_reduce_scatter_sum(const void* data, void* part, size_t count, ElementType type) override;
  void start_all_gather(const std::vector<Gather>& of, size_t count, ElementType type) override;
  void join() override;
  void finish() override;
  void wait(const std::function<bool()>& done, const char* what) override;

  cudaStream_t stream() const { return stream_; }

 private:
  // Queues `operation` after the default stream's work.
  void start(const std::function<ncclResult_t()>& operation, const char* what);
  void finish(const char* what);
  void abort();

  int rank_;
  int size_;
  double deadline_;
  std::function<void()> while_waiting_;
  ncclComm_t comm_ = nullptr;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr;  // what the default stream holds when an operation starts
  cudaEvent_t end_ = nullptr;    // of the operations started
};

}  // namespace recite
