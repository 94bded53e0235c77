#include "kernels/simd/isa.h"

#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"

namespace recite::kernels {

namespace {

bool available(Isa isa) {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (isa == Isa::avx2) return avx2;
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (isa == Isa::avx512) return avx512;
  if (isa == Isa::avx512_bf16) return avx512 && __builtin_cpu_supports("avx512bf16");
#endif
  return isa == Isa::baseline;
}

Isa& selected() {
  static Isa isa = isa_for(std::getenv("RECITE_ISA"));
  return isa;
}

}  // namespace

const char* name_of(Isa isa) {
  constexpr const char* names[] = {"baseline", "avx2", "avx512", "avx512_bf16"};
  return names[static_cast<int>(isa)];
}

std::vector<Isa> available_isas() {
  std::vector<Isa> isas = {Isa::baseline, Isa::avx2, Isa::avx512, Isa::avx512_bf16};
  std::erase_if(isas, [](Isa isa) { return !available(isa); });
  return isas;
}

Isa isa_for(const char* wanted) {
  const std::vector<Isa> isas = available_isas();
  if (!wanted || !*wanted) return isas.back();
  std::string allowed;
  for (const Isa isa : isas) {
    if (std::string_view(name_of(isa)) == wanted) return isa;
    allowed += std::string(allowed.empty() ? "" : ", ") + name_of(isa);
  }
  throw UsageError("The environment variable RECITE_ISA is '" + std::string(wanted) + "'; this CPU has " + allowed +
                   ".");
}

Isa current_isa() { return selected(); }

IsaScope::IsaScope(Isa isa) : before_(selected()) { selected() = isa; }
IsaScope::~IsaScope() { selected() = before_; }

}  // namespace recite::kernels
