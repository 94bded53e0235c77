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
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "CUDA stream");
    check(cudaEventCreateWithFlags(&begin_, cudaEventDisableTiming), "CUDA event");
    check(cudaEventCreateWithFlags(&end_, cudaEventDisableTiming), "CUDA event");
  } catch (...) {
    abort();
    throw;
  }
}

NcclCollective::~NcclCollective() { abort(); }

// Aborting is the one way to end a communicator that never waits for a peer, and after finished operations it loses
// nothing. It frees the kernels that wait for a lost peer, and with them the streams that wait for those.
void NcclCollective::abort() {
  if (comm_ != nullptr) ncclCommAbort(comm_);
  if (begin_ != nullptr) cudaEventDestroy(begin_);
  if (end_ != nullptr) cudaEventDestroy(end_);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
  comm_ = nullptr;
  begin_ = end_ = nullptr;
  stream_ = nullptr;
}

void NcclCollective::all_reduce_sum(void* data, size_t count, ElementType type) {
  start_all_reduce_sum(data, count, type);
  finish("all-reduce");
}

void NcclCollective::broadcast(void* data, size_t count, ElementType type, int root) {
  start([&] { return ncclBroadcast(data, data, count, nccl_type(type), root, comm_, stream_); }, "broadcast");
  finish("broadcast");
}

void NcclCollective::start_all_reduce_sum(void* data, size_t count, ElementType type) {
  start([&] { return ncclAllReduce(data, data, count, nccl_type(type), ncclSum, comm_, stream_); }, "all-reduce");
}

void NcclCollective::start_reduce_scatter_sum(const void* data, void* part, size_t count, ElementType type) {
  start([&] { return ncclReduceScatter(data, part, count, nccl_type(type), ncclSum, comm_, stream_); },
        "reduce-scatter");
}

void NcclCollective::start_all_gather(const std::vector<Gather>& of, size_t count, ElementType type) {
  const auto all_of_them = [&] {
    ncclResult_t started = ncclGroupStart();
    for (const auto& [part, all] : of) {
      const ncclResult_t one = ncclAllGather(part, all, count, nccl_type(type), comm_, stream_);
      if (started == ncclSuccess && one != ncclInProgress) started = one;
    }
    const ncclResult_t ended = ncclGroupEnd();
    return started != ncclSuccess ? started : ended;
  };
  start(all_of_them, "all-gather");
}

void NcclCollective::start(const std::function<ncclResult_t()>& operation, const char* what) {
  if (comm_ == nullptr) throw PeerLost("NCCL communicator was aborted");
  try {
    check(cudaEventRecord(begin_, default_stream), what);
    check(cudaStreamWaitEvent(stream_, begin_), what);
    const ncclResult_t started = operation();
    if (started != ncclSuccess && started != ncclInProgress)
      throw PeerLost(fmt::format("NCCL {}: {}", what, ncclGetErrorString(started)));
    wait_until([&] { return settled(comm_, what); }, nullptr, deadline_, what);
  } catch (...) {
    abort();
    throw;
  }
}

void NcclCollective::join() {
  if (comm_ == nullptr) throw PeerLost("NCCL communicator was aborted");
  check(cudaEventRecord(end_, stream_), "CUDA event");
  check(cudaStreamWaitEvent(default_stream, end_), "CUDA event");
}

void NcclCollective::finish() { finish("collective"); }

void NcclCollective::finish(const char* what) {
  join();
  const auto ended = [&] {
    const cudaError_t state = cudaEventQuery(end_);
    if (state != cudaErrorNotReady) check(state, what);
    return state == cudaSuccess;
  };
  wait(ended, what);
}

void NcclCollective::wait(const std::function<bool()>& done, const char* what) {
  if (comm_ == nullptr) throw PeerLost("NCCL communicator was aborted");
  const auto done_or_broken = [&] {
    if (done()) return true;
    settled(comm_, what);
    return false;
  };
  try {
    wait_until(done_or_broken, while_waiting_, deadline_, what);
  } catch (...) {
    abort();
    throw;
  }
}

std::string nccl_version() {
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess) return "";
  return fmt::format("NCCL {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

}  // namespace recite
