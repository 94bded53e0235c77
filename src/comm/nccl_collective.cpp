#include "comm/nccl_collective.h"

#include <fmt/format.h>

#include "comm/waiting.h"

namespace recite {

namespace {

constexpr cudaStream_t default_stream = nullptr;

ncclDataType_t nccl_type(ElementType type) {
  switch (type) {
    case ElementType::float32:
      return ncclFloat32;
    case ElementType::float64:
      return ncclFloat64;
    case ElementType::int64:
      return ncclInt64;
    case ElementType::bytes:
      return ncclUint8;
  }
  throw Error("unknown element type");
}

void check(cudaError_t code, const char* what) {
  if (code != cudaSuccess) throw Error(fmt::format("{}: {}", what, cudaGetErrorString(code)));
}

bool settled(ncclComm_t comm, const char* what) {
  ncclResult_t state = ncclSuccess;
  const ncclResult_t asked = ncclCommGetAsyncError(comm, &state);
  if (asked != ncclSuccess) state = asked;
  if (state == ncclInProgress) return false;
  if (state != ncclSuccess) throw PeerLost(fmt::format("NCCL {}: {}", what, ncclGetErrorString(state)));
  return true;
}

}  // namespace

NcclCollective::NcclCollective(Collective& host, const GroupRequest& request)
    : rank_(host.rank()), size_(host.size()), deadline_(request.deadline), while_waiting_(request.while_waiting) {
  ncclUniqueId id{};
  if (rank_ == 0 && ncclGetUniqueId(&id) != ncclSuccess) throw Error("NCCL cannot make a communicator id");
  host.broadcast(&id, sizeof id, ElementType::bytes, 0);

  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  const ncclResult_t started = ncclCommInitRankConfig(&comm_, size_, id, rank_, &config);
  if (started != ncclSuccess && started != ncclInProgress)
    throw Error(fmt::format("NCCL start: {}", ncclGetErrorString(started)));
  try {
    wait_until([&] { return settled(comm_, "start"); }, while_waiting_, deadline_, "NCCL start");
    check(cudaEventCreateWithFlags(&done_, cudaEventDisableTiming), "CUDA event");
  } catch (...) {
    abort();
    throw;
  }
}

NcclCollective::~NcclCollective() { abort(); }

// Aborting is the one way to end a communicator that never waits for a peer, and after finished operations it loses
// nothing.
void NcclCollective::abort() {
  if (done_ != nullptr) cudaEventDestroy(done_);
  if (comm_ != nullptr) ncclCommAbort(comm_);
  done_ = nullptr;
  comm_ = nullptr;
}

void NcclCollective::all_reduce_sum(void* data, size_t count, ElementType type) {
  finish(ncclAllReduce(data, data, count, nccl_type(type), ncclSum, comm_, default_stream), "all-reduce");
}

void NcclCollective::broadcast(void* data, size_t count, ElementType type, int root) {
  finish(ncclBroadcast(data, data, count, nccl_type(type), root, comm_, default_stream), "broadcast");
}

void NcclCollective::finish(ncclResult_t started, const char* what) {
  try {
    if (comm_ == nullptr) throw PeerLost("NCCL communicator was aborted");
    if (started != ncclSuccess && started != ncclInProgress)
      throw PeerLost(fmt::format("NCCL {}: {}", what, ncclGetErrorString(started)));
    wait_until([&] { return settled(comm_, what); }, while_waiting_, deadline_, what);
    check(cudaEventRecord(done_, default_stream), what);
    const auto reduced = [&] {
      const cudaError_t state = cudaEventQuery(done_);
      if (state != cudaErrorNotReady) check(state, what);
      settled(comm_, what);
      return state == cudaSuccess;
    };
    wait_until(reduced, while_waiting_, deadline_, what);
  } catch (...) {
    abort();  // frees the kernels that wait for the lost peer, and with them the stream
    throw;
  }
}

std::string nccl_version() {
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess) return "";
  return fmt::format("NCCL {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

}  // namespace recite
