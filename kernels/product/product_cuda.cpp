#include "kernels/product/product_cuda.h"

#include <cublasLt.h>

#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/product/fastest.h"
#include "kernels/product/note_difference.h"
#include "kernels/product/product_counters.h"

namespace recite::kernels {

namespace {

constexpr size_t workspace_bytes = size_t{64} << 20;
constexpr int64_t split_below = int64_t{1} << 20;  // numbers of C: of fewer, sums may be split to have enough tiles
constexpr int most_candidates = 24;

std::atomic<int> timings = 0;  // ProductTimings that live

void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("product on the GPU: ") + cudaGetErrorString(error));
}
void check(cublasStatus_t status) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw std::runtime_error(std::string("product on the GPU: ") + cublasLtGetStatusString(status));
}

// Null where there is no memory left.
struct Memory {
  explicit Memory(size_t bytes) {
    if (cudaMalloc(&data, bytes) == cudaSuccess) return;
    data = nullptr;
    cudaGetLastError();
  }
  ~Memory() { cudaFree(data); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  void* data = nullptr;
};

// The greatest power of two, up to 256, at whose multiples the address and all rows begin.
uint32_t alignment_of(const void* pointer, int64_t row_bytes) {
  const uint64_t bits = reinterpret_cast<uint64_t>(pointer) | static_cast<uint64_t>(row_bytes) | 256;
  return static_cast<uint32_t>(bits & ~(bits - 1));
}

struct Candidate {
  cublasLtMatmulAlgo_t algorithm;
  size_t workspace_bytes;  // that it needs
};

// cuBLASLt counts by columns: to it, C transposed = op(B) transposed times op(A) transposed, so that B comes first.
class Description {
 public:
  Description(const ProductShape& shape, cudaDataType_t result, bool with_bias) {
    check(cublasLtMatmulDescCreate(&product_, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    set(CUBLASLT_MATMUL_DESC_TRANSA, shape.b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, shape.a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (with_bias) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_16BF);
    }
    const auto layout = [](cublasLtMatrixLayout_t* made, cudaDataType_t type, int64_t rows, int64_t columns,
                           int64_t stride) { check(cublasLtMatrixLayoutCreate(made, type, rows, columns, stride)); };
    if (shape.b_transposed)
      layout(&first_, CUDA_R_16BF, shape.inner, shape.columns, shape.b_stride);
    else
      layout(&first_, CUDA_R_16BF, shape.columns, shape.inner, shape.b_stride);
    if (shape.a_transposed)
      layout(&second_, CUDA_R_16BF, shape.rows, shape.inner, shape.a_stride);
    else
      layout(&second_, CUDA_R_16BF, shape.inner, shape.rows, shape.a_stride);
    layout(&result_, result, shape.columns, shape.rows, shape.c_stride);
  }
  ~Description() {
    cublasLtMatrixLayoutDestroy(result_);
    cublasLtMatrixLayoutDestroy(second_);
    cublasLtMatrixLayoutDestroy(first_);
    cublasLtMatmulDescDestroy(product_);
  }
  Description(const Description&) = delete;
  Description& operator=(const Description&) = delete;

  // Those that need no more workspace than that (if there are none, of any), cuBLASLt's own first choice first.
  std::vector<Candidate> candidates(cublasLtHandle_t handle, const ProductInputs& in,
                                    const std::array<uint32_t, 4>& alignments, size_t workspace) {
    point_at(in);
    cublasLtMatmulPreference_t preference{};
    check(cublasLtMatmulPreferenceCreate(&preference));
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      check(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value));
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignments[1]);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignments[0]);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignments[3]);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignments[2]);
    std::vector<cublasLtMatmulHeuristicResult_t> found(most_candidates);
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle, product_, first_, second_, result_, result_,
                                                                 preference, most_candidates, found.data(), &count);
    cublasLtMatmulPreferenceDestroy(preference);
    if (status != CUBLAS_STATUS_NOT_SUPPORTED) check(status);  // it stands for none
    std::vector<Candidate> all;
    for (int i = 0; i < count; ++i)
      if (found[i].state == CUBLAS_STATUS_SUCCESS) all.push_back({found[i].algo, found[i].workspaceSize});
    if (all.empty() && workspace < workspace_bytes) return candidates(handle, in, alignments, workspace_bytes);
    if (all.empty()) throw std::runtime_error("product on the GPU: cuBLASLt has no algorithm for this shape");
    return all;
  }

  // `adds`: to what C holds.
  cublasStatus_t run(cublasLtHandle_t handle, const ProductInputs& in, void* c, bool adds, const Candidate& candidate,
                     void* workspace, cudaStream_t stream) {
    point_at(in);
    const float one = 1, of_addend = adds || in.addend ? 1 : 0;
    const void* addend = in.addend ? in.addend : c;
    return cublasLtMatmul(handle, product_, &one, in.b, first_, in.a, second_, &of_addend, addend, result_, c, result_,
                          &candidate.algorithm, workspace, candidate.workspace_bytes, stream);
  }

 private:
  template <class Value>
  void set(cublasLtMatmulDescAttributes_t attribute, const Value& value) {
    check(cublasLtMatmulDescSetAttribute(product_, attribute, &value, sizeof value));
  }
  void point_at(const ProductInputs& in) {
    if (in.bias) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, reinterpret_cast<uintptr_t>(in.bias));
  }

  cublasLtMatmulDesc_t product_{};
  cublasLtMatrixLayout_t first_{}, second_{}, result_{};
};

// One device's products: what it needs to run them, and the algorithms chosen so far.
class Products {
 public:
  Products() {
    check(cublasLtCreate(&handle_));
    check(cudaMalloc(&workspace_, workspace_bytes));
  }

  template <class Result>
  void multiply(const ProductShape& shape, const ProductInputs& in, Result* c, bool adds, cudaStream_t stream) {
    if (shape.rows < 1 || shape.columns < 1 || shape.inner < 1)
      throw std::invalid_argument("product on the GPU: an empty matrix");
    const std::lock_guard lock(mutex_);
    Description description(shape, std::is_same_v<Result, float> ? CUDA_R_32F : CUDA_R_16BF, in.bias != nullptr);
    constexpr int64_t element = sizeof(__nv_bfloat16);
    const int64_t result_row = shape.c_stride * static_cast<int64_t>(sizeof(Result));
    const void* addend = in.addend ? static_cast<const void*>(in.addend) : c;
    const std::array<uint32_t, 4> alignments = {alignment_of(in.a, shape.a_stride * element),
                                                alignment_of(in.b, shape.b_stride * element),
                                                alignment_of(c, result_row), alignment_of(addend, result_row)};
    const Key key = key_of(shape, alignments, adds * 2 + (in.addend != nullptr), in.bias != nullptr, sizeof(Result));
    auto known = known_.find(key);
    if (known == known_.end()) {
      const size_t room =
          shape.rows * shape.columns < split_below ? workspace_bytes : ProductCounters::largest_workspace;
      known = known_.emplace(key, Known{description.candidates(handle_, in, alignments, room), 0, false}).first;
    }
    const bool captured = is_captured(stream);
    if (timings > 0 && !known->second.timed && !captured) {
      const auto bytes = static_cast<size_t>(shape.rows * shape.c_stride) * sizeof(Result);
      known->second.best = fastest_of(description, known->second.candidates, in, bytes, adds, stream);
      known->second.timed = true;
    }
    const Candidate& best = known->second.candidates[known->second.best];
    const bool counts = best.workspace_bytes > 0 && best.workspace_bytes <= ProductCounters::largest_workspace;
    check(description.run(handle_, in, c, adds, best, captured && counts ? counters_.next() : workspace_, stream));
  }

  const ProductCounters& counters() const { return counters_; }

 private:
  using Key = std::array<int64_t, 14>;
  struct Known {
    std::vector<Candidate> candidates;
    size_t best;
    bool timed;
  };

  static Key key_of(const ProductShape& s, const std::array<uint32_t, 4>& alignments, int adds, bool bias,
                    int64_t element) {
    return {s.rows,        s.columns,     s.inner,       s.a_transposed * 2 + s.b_transposed,
            s.a_stride,    s.b_stride,    s.c_stride,    alignments[0],
            alignments[1], alignments[2], alignments[3], adds,
            bias,          element};
  }

  static bool is_captured(cudaStream_t stream) {
    cudaStreamCaptureStatus status{};
    check(cudaStreamIsCapturing(stream, &status));
    return status != cudaStreamCaptureStatusNone;
  }

  // The place of the candidate that fastest() finds among those that give the bits of the first. Results go to memory
  // of their own.
  size_t fastest_of(Description& description, const std::vector<Candidate>& candidates, const ProductInputs& in,
                    size_t bytes, bool adds, cudaStream_t stream) const {
    const size_t padded = (bytes + 3) / 4 * 4;
    const Memory expected(padded), got(padded), differs(sizeof(int));
    if (!expected.data || !got.data || !differs.data) return 0;
    const auto run = [&](const Memory& into, size_t i) {
      return description.run(handle_, in, into.data, adds, candidates[i], workspace_, stream);
    };
    check(cudaMemsetAsync(expected.data, 0, padded, stream));
    check(run(expected, 0));
    std::vector<size_t> alike;
    for (size_t i = 0; i < candidates.size(); ++i) {
      check(cudaMemsetAsync(got.data, 0, padded, stream));
      if (run(got, i) == CUBLAS_STATUS_SUCCESS && equal(expected, got, padded / 4, differs, stream)) alike.push_back(i);
    }
    if (alike.empty()) return 0;
    return alike[fastest(alike.size(), [&](size_t i) { check(run(got, alike[i])); }, stream)];
  }

  static bool equal(const Memory& a, const Memory& b, size_t words, const Memory& differs, cudaStream_t stream) {
    check(cudaMemsetAsync(differs.data, 0, sizeof(int), stream));
    note_difference(static_cast<const uint32_t*>(a.data), static_cast<const uint32_t*>(b.data),
                    static_cast<int64_t>(words), static_cast<int*>(differs.data), stream);
    int found = 0;
    check(cudaMemcpyAsync(&found, differs.data, sizeof(int), cudaMemcpyDeviceToHost, stream));
    check(cudaStreamSynchronize(stream));
    return found == 0;
  }

  std::mutex mutex_;
  cublasLtHandle_t handle_{};
  void* workspace_ = nullptr;
  ProductCounters counters_;
  std::map<Key, Known> known_;
};

// The current device's; null if it has none and none is to be made.
Products* products_of_this_device(bool make) {
  static std::mutex mutex;
  static std::map<int, Products*> all;  // kept to the end of the process: CUDA may be gone before static objects are
  int device = 0;
  check(cudaGetDevice(&device));
  const std::lock_guard lock(mutex);
  Products*& one = all[device];
  if (!one && make) one = new Products;
  return one;
}

}  // namespace

ProductTiming::ProductTiming() { ++timings; }
ProductTiming::~ProductTiming() { --timings; }

void product_cuda(const ProductShape& shape, const ProductInputs& in, __nv_bfloat16* c, cudaStream_t stream) {
  products_of_this_device(/*make=*/true)->multiply(shape, in, c, /*adds=*/false, stream);
}

void product_cuda(const ProductShape& shape, const __nv_bfloat16* a, const __nv_bfloat16* b, float* c, bool adds,
                  cudaStream_t stream) {
  products_of_this_device(/*make=*/true)->multiply(shape, {a, b}, c, adds, stream);
}

void clear_product_counters_at_once(cudaGraph_t graph) {
  if (const Products* products = products_of_this_device(/*make=*/false)) products->counters().clear_at_once(graph);
}

}  // namespace recite::kernels
