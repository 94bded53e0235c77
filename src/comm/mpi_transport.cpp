#include <fmt/format.h>
#include <mpi.h>

#include <mpi-ext.h>  // needs mpi.h before it

#include <cstdio>
#include <cstdlib>
#include <list>
#include <set>

#include "comm/mpi_collective.h"
#include "comm/solo_group.h"
#include "comm/transport.h"
#include "comm/waiting.h"
#ifdef RECITE_CUDA
#include "comm/nccl_collective.h"
#endif

namespace recite {

namespace {

constexpr int message_tag = 1;

class MpiGroup final : public FormedGroup {
 public:
  MpiGroup(MPI_Group members, const GroupRequest& request) : host_(members, request) {
    if (!request.on_gpu) return;
#ifdef RECITE_CUDA
    device_ = std::make_unique<NcclCollective>(host_, request);
#else
    throw Error("this build has no GPU support");
#endif
  }

  Group group() override { return {host_, device_ ? *device_ : host_}; }

 private:
  MpiCollective host_;
  std::unique_ptr<Collective> device_;
};

class MpiTransport final : public Transport {
 public:
  MpiTransport();

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string description() const override;
  bool survives_lost_ranks() const override;
  void send(int to, std::string body) override;
  std::optional<Message> receive() override;
  std::vector<int> take_lost_ranks() override { return std::exchange(newly_lost_, {}); }
  bool every_rank_lives() const override { return lost_.empty(); }
  std::unique_ptr<FormedGroup> form_group(const GroupRequest& request) override;
  void leave(bool some_rank_was_lost) override;

 private:
  struct Outgoing {
    int to;
    std::string body;
    MPI_Request request;
  };

  void test_sends();
  void lose(int rank);
  std::optional<Message> receive_from(int rank);

  int rank_ = 0;
  int size_ = 1;
  int next_ = 0;                  // where the next look begins, so that no rank is heard before the others for ever
  std::list<Outgoing> outgoing_;  // MPI reads the bodies until their requests are done
  std::set<int> lost_;
  std::vector<int> newly_lost_;
};

MpiTransport::MpiTransport() {
  int provided = 0;
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &size_);
}

bool MpiTransport::survives_lost_ranks() const {
#ifdef MPIX_ERR_PROC_FAILED
  const char* enabled = std::getenv("OMPI_MCA_mpi_ft_enable");  // what `mpirun --with-ft ulfm` tells its ranks
  return enabled != nullptr && std::string(enabled) != "0" && std::string(enabled) != "false";
#else
  return false;
#endif
}

std::string MpiTransport::description() const {
  return mpi_library_version() + (survives_lost_ranks() ? ", ULFM" : ", no fault tolerance");
}

void MpiTransport::send(int to, std::string body) {
  test_sends();
  if (lost_.contains(to)) return;
  Outgoing& out = outgoing_.emplace_back(Outgoing{to, std::move(body), MPI_REQUEST_NULL});
  const int code = MPI_Isend(out.body.data(), static_cast<int>(out.body.size()), MPI_BYTE, to, message_tag,
                             MPI_COMM_WORLD, &out.request);
  if (code != MPI_SUCCESS) {
    outgoing_.pop_back();
    lose(to);
  }
}

void MpiTransport::test_sends() {
  for (auto out = outgoing_.begin(); out != outgoing_.end();) {
    int done = 0;
    const int code = MPI_Test(&out->request, &done, MPI_STATUS_IGNORE);
    const int to = out->to;
    if (code == MPI_SUCCESS && done == 0) {
      ++out;
      continue;
    }
    out = outgoing_.erase(out);
    if (code != MPI_SUCCESS) lose(to);
  }
}

void MpiTransport::lose(int rank) {
  if (rank_ != 0 && rank == 0) throw CoordinatorLost("the coordinator is gone");
  if (lost_.insert(rank).second) newly_lost_.push_back(rank);
}

std::optional<Message> MpiTransport::receive() {
  test_sends();
  if (rank_ != 0) return receive_from(0);
  for (int looked = 0; looked < size_; ++looked) {
    next_ = (next_ + 1) % size_;
    if (next_ == 0 || lost_.contains(next_)) continue;
    if (std::optional<Message> message = receive_from(next_)) return message;
  }
  return std::nullopt;
}

std::optional<Message> MpiTransport::receive_from(int rank) {
  int flag = 0;
  MPI_Message handle = MPI_MESSAGE_NULL;
  MPI_Status status;
  if (MPI_Improbe(rank, message_tag, MPI_COMM_WORLD, &flag, &handle, &status) != MPI_SUCCESS) {
    lose(rank);
    return std::nullopt;
  }
  if (flag == 0) return std::nullopt;
  int length = 0;
  MPI_Get_count(&status, MPI_BYTE, &length);
  Message message{rank, std::string(static_cast<size_t>(length), '\0')};
  if (MPI_Mrecv(message.body.data(), length, MPI_BYTE, &handle, &status) != MPI_SUCCESS) {
    lose(rank);
    return std::nullopt;
  }
  return message;
}

std::unique_ptr<FormedGroup> MpiTransport::form_group(const GroupRequest& request) {
  if (request.ranks.size() == 1) return std::make_unique<SoloGroup>();
  MPI_Group world;
  MPI_Group members;
  MPI_Comm_group(MPI_COMM_WORLD, &world);
  MPI_Group_incl(world, static_cast<int>(request.ranks.size()), request.ranks.data(), &members);
  MPI_Group_free(&world);
  struct Release {
    MPI_Group& group;
    ~Release() { MPI_Group_free(&group); }
  } release{members};
  return std::make_unique<MpiGroup>(members, request);
}

void MpiTransport::leave(bool some_rank_was_lost) {
  try {
    wait_until(
        [&] {
          test_sends();
          return outgoing_.empty();
        },
        nullptr, 5, "last messages");
  } catch (const Error&) {
    some_rank_was_lost = true;  // somebody does not listen any more: do not wait for it in MPI_Finalize either
  }
  if (some_rank_was_lost || !lost_.empty()) {
    std::fflush(nullptr);
    std::_Exit(EXIT_SUCCESS);
  }
  MPI_Finalize();
}

}  // namespace

bool launched_by_mpi() { return std::getenv("PMIX_RANK") != nullptr || std::getenv("OMPI_COMM_WORLD_RANK") != nullptr; }

std::unique_ptr<Transport> make_mpi_transport() { return std::make_unique<MpiTransport>(); }

std::string mpi_library_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string whole(text, static_cast<size_t>(length));
  return whole.substr(0, whole.find(','));
}

#ifndef RECITE_CUDA
std::string nccl_version() { return ""; }
#endif

}  // namespace recite
