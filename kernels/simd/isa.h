// Which instruction sets the CPU kernels are compiled for, and which of them is used.
//
// A kernel's inner loops stand in a file *_simd.cpp, which is compiled once for each set, in a namespace named after it
// (recite_simd_sources in cmake/Simd.cmake). Such a file must emit no symbol outside that namespace: the linker could
// take an inline function of the standard library compiled for AVX-512 for the whole program. So it includes nothing of
// the standard library but <cstdint>, and its caller, compiled for every CPU, allocates and starts threads.
#pragma once

#include <vector>

namespace recite::kernels {

// In rising order; `baseline` is what every CPU of the architecture has (SSE2 on x86-64).
enum class Isa { baseline, avx2, avx512, avx512_bf16 };

const char* name_of(Isa isa);

// The sets that this CPU and this build have, in rising order.
std::vector<Isa> available_isas();

// The one of them that the environment variable RECITE_ISA (baseline, avx2, avx512 or avx512_bf16) names; the highest
// when `wanted`, its value, is null or empty. Throws UsageError when it names none of them.
Isa isa_for(const char* wanted);

// The set in use: isa_for(RECITE_ISA), read once.
Isa current_isa();

// Uses another set while it lives. For tests: not while another thread runs kernels.
class IsaScope {
 public:
  explicit IsaScope(Isa isa);
  ~IsaScope();
  IsaScope(const IsaScope&) = delete;
  IsaScope& operator=(const IsaScope&) = delete;

 private:
  const Isa before_;
};

}  // namespace recite::kernels

// RECITE_DECLARE_SIMD(declarations): the declarations in the namespace of each set.
// RECITE_SIMD(function): a pointer to the function of the set in use.
#if defined(__x86_64__)
#define RECITE_DECLARE_SIMD(...) \
  namespace baseline {           \
  __VA_ARGS__                    \
  }                              \
  namespace avx2 {               \
  __VA_ARGS__                    \
  }                              \
  namespace avx512 {             \
  __VA_ARGS__                    \
  }                              \
  namespace avx512_bf16 {        \
  __VA_ARGS__                    \
  }
#define RECITE_SIMD(...)                                                                              \
  (::recite::kernels::current_isa() == ::recite::kernels::Isa::avx512_bf16 ? avx512_bf16::__VA_ARGS__ \
   : ::recite::kernels::current_isa() == ::recite::kernels::Isa::avx512    ? avx512::__VA_ARGS__      \
   : ::recite::kernels::current_isa() == ::recite::kernels::Isa::avx2      ? avx2::__VA_ARGS__        \
                                                                           : baseline::__VA_ARGS__)
#else
#define RECITE_DECLARE_SIMD(...) \
  namespace baseline {           \
  __VA_ARGS__                    \
  }
#define RECITE_SIMD(...) baseline::__VA_ARGS__
#endif
