#include "comm/mpi_collective.h"

#include <fmt/format.h>
#include <mpi-ext.h>  // after mpi.h

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "comm/waiting.h"

namespace recite {

namespace {

struct ElementInfo {
  MPI_Datatype type;
  size_t size;
};

ElementInfo info_of(ElementType type) {
  switch (type) {
    case ElementType::float32:
      return {MPI_FLOAT, 4};
    case ElementType::float64:
      return {MPI_DOUBLE, 8};
    case ElementType::int64:
      return {MPI_INT64_T, 8};
    case ElementType::bytes:
      return {MPI_BYTE, 1};
  }
  throw Error("unknown element type");
}

// MPI counts are ints; pieces this large keep well below, and no pipeline notices the seams.
constexpr size_t piece = size_t{1} << 28;
int count_of(size_t count) {
  if (count > piece) throw std::logic_error("a part of more than 2^28 elements");
  return static_cast<int>(count);
}

}  // namespace

std::string mpi_error(int code) {
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  return {text, static_cast<size_t>(length)};
}

MpiCollective::MpiCollective(MPI_Group members, const GroupRequest& request)
    : deadline_(request.deadline), while_waiting_(request.while_waiting) {
  // MPI_Comm_create_group fails for ever once a rank of the world is lost; this one works among the survivors.
  const int code = MPI_Comm_create_from_group(members, request.name.c_str(), MPI_INFO_NULL, MPI_ERRORS_RETURN, &comm_);
  if (code != MPI_SUCCESS) throw PeerLost(fmt::format("cannot form group {}: {}", request.name, mpi_error(code)));
  MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
  MPI_Comm_rank(comm_, &rank_);
  MPI_Comm_size(comm_, &size_);
}

MpiCollective::~MpiCollective() {
  if (broken_ || comm_ == MPI_COMM_NULL) return;
  // Freeing a healthy communicator is collective in name only; a broken one is left to the end of the process, and so
  // is one in which the others may wait for this rank, which leaves by an exception.
  if (std::uncaught_exceptions() > exceptions_)
    revoke();
  else
    MPI_Comm_free(&comm_);
}

// The other ranks of the group stop waiting, too.
void MpiCollective::revoke() {
  broken_ = true;
#ifdef MPIX_ERR_PROC_FAILED
  MPIX_Comm_revoke(comm_);
#endif
}

void MpiCollective::all_reduce_sum(void* data, size_t count, ElementType type) {
  const ElementInfo info = info_of(type);
  auto* bytes = static_cast<char*>(data);
  for (size_t done = 0; done < count; done += piece) {
    MPI_Request request;
    const int n = static_cast<int>(std::min(piece, count - done));
    const int code = MPI_Iallreduce(MPI_IN_PLACE, bytes + done * info.size, n, info.type, MPI_SUM, comm_, &request);
    if (code != MPI_SUCCESS) fail(code, "all-reduce");
    end(request, "all-reduce");
  }
}

void MpiCollective::broadcast(void* data, size_t count, ElementType type, int root) {
  const ElementInfo info = info_of(type);
  auto* bytes = static_cast<char*>(data);
  for (size_t done = 0; done < count; done += piece) {
    MPI_Request request;
    const int n = static_cast<int>(std::min(piece, count - done));
    const int code = MPI_Ibcast(bytes + done * info.size, n, info.type, root, comm_, &request);
    if (code != MPI_SUCCESS) fail(code, "broadcast");
    end(request, "broadcast");
  }
}

void MpiCollective::start_reduce_scatter_sum(const void* data, void* part, size_t count, ElementType type) {
  MPI_Request request;
  const int code = MPI_Ireduce_scatter_block(data, part, count_of(count), info_of(type).type, MPI_SUM, comm_, &request);
  if (code != MPI_SUCCESS) fail(code, "reduce-scatter");
  end(request, "reduce-scatter");
}

void MpiCollective::start_all_gather(const std::vector<Gather>& of, size_t count, ElementType type) {
  const MPI_Datatype number = info_of(type).type;
  for (const auto& [part, all] : of) {
    MPI_Request request;
    const int code = MPI_Iallgather(part, count_of(count), number, all, count_of(count), number, comm_, &request);
    if (code != MPI_SUCCESS) fail(code, "all-gather");
    end(request, "all-gather");
  }
}

void MpiCollective::end(MPI_Request request, const char* what) {
  const auto done = [&] {
    int flag = 0;
    const int code = MPI_Test(&request, &flag, MPI_STATUS_IGNORE);
    if (code != MPI_SUCCESS) {
      request = MPI_REQUEST_NULL;
      fail(code, what);
    }
    return flag != 0;
  };
  try {
    wait_until(done, while_waiting_, deadline_, what);
  } catch (...) {
    if (request == MPI_REQUEST_NULL) throw;
    // MPI may still write to the caller's buffer: the operation must end before the buffer may be given up.
    revoke();
    try {
      const auto ended = [&] {
        int flag = 0;
        return MPI_Test(&request, &flag, MPI_STATUS_IGNORE) != MPI_SUCCESS || flag != 0;
      };
      wait_until(ended, nullptr, 5, what);
    } catch (const PeerLost&) {
      std::fputs("recite: cannot leave a collective operation; this rank ends\n", stderr);
      std::_Exit(EXIT_FAILURE);
    }
    throw;
  }
}

void MpiCollective::fail(int code, const char* what) {
  revoke();
  throw PeerLost(fmt::format("{}: {}", what, mpi_error(code)));
}

}  // namespace recite
