"""Objects compiled for one instruction set define no symbol outside its namespace.

The linker keeps one copy of an inline function for the whole program: a copy compiled for AVX-512 would end the program
on a CPU without it.

    simd_symbols_test.py NM OBJECT...
"""

import re
import subprocess
import sys


def foreign_symbols(nm: str, path: str) -> list[str]:
    isa = re.search(r"_(baseline|avx2|avx512_bf16|avx512)\.dir/", path).group(1)
    lines = subprocess.run([nm, "--defined-only", "--extern-only", path], check=True, capture_output=True, text=True)
    symbols = [line.split()[-1] for line in lines.stdout.splitlines()]
    prefix = f"6recite7kernels{len(isa)}{isa}"
    if not any(prefix in symbol for symbol in symbols):
        return [f"{path}: defines nothing in recite::kernels::{isa}"]
    return [f"{path}: {symbol}" for symbol in symbols if not re.match(rf"_Z(TV|TI|TS|GV)?N?K?{prefix}", symbol)]


def main() -> int:
    nm, *objects = sys.argv[1:]
    found = [symbol for path in objects for symbol in foreign_symbols(nm, path)]
    print(*found, f"{len(objects)} objects read", sep="\n")
    return 1 if found or not objects else 0


if __name__ == "__main__":
    sys.exit(main())
