"""Compiles the CPU renderers into this folder, for a checkout: ``python -m
renderers.kernels.build``.

An installed package brings the library with it (CMakeLists.txt). This script does the same with a
C++ compiler alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from renderers.kernels import LIBRARY_NAME

SOURCES = Path(__file__).parent
FLAGS = [
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-pthread",
    "-fvisibility=hidden",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
]
INSTRUCTION_SETS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx2", "-mfma"],
}


SANITIZE = [
    "-O1",
    "-g1",
    "-fno-var-tracking",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=undefined",
    "-fno-omit-frame-pointer",
]
"""Flags for a library that stops at the first invalid access or undefined operation. The process
must have the sanitizers' runtime loaded."""


def build(folder: Path = SOURCES, *, sanitize: bool = False, compiler: str | None = None) -> Path:
    """Compiles and links into ``folder``; returns the library. The same flags as CMakeLists.txt."""
    compiler = compiler or os.environ.get("CXX", "c++")
    target = subprocess.run([compiler, "-dumpmachine"], check=True, capture_output=True, text=True).stdout
    x86 = target.startswith(("x86_64", "amd64"))
    sets = INSTRUCTION_SETS if x86 else {"baseline": []}
    extra = SANITIZE if sanitize else []
    common = [compiler, *FLAGS, *extra, *(["-DRL3D_X86"] if x86 else []), "-c"]
    library = folder / LIBRARY_NAME
    with tempfile.TemporaryDirectory() as scratch:
        commands = [
            [*common, str(SOURCES / f"{name}.cpp"), "-o", f"{scratch}/{name}.o"] for name in ("splat", "thread_pool")
        ]
        # Two triangles must see their common edge alike, to the bit: no contraction to
        # multiply-adds, which round one product only.
        commands.append([*common, "-ffp-contract=off", str(SOURCES / "mesh.cpp"), "-o", f"{scratch}/mesh.o"])
        for name, flags in sets.items():
            defines = [f"-DRL3D_ISA={name}", f'-DRL3D_ISA_NAME="{name}"']
            commands.append(
                [*common, *flags, *defines, str(SOURCES / "pipeline.cpp"), "-o", f"{scratch}/pipeline_{name}.o"]
            )
        for command in commands:
            subprocess.run(command, check=True)
        objects = [command[-1] for command in commands]
        subprocess.run(
            [compiler, "-shared", "-pthread", *extra, *objects, "-o", f"{scratch}/{LIBRARY_NAME}"], check=True
        )
        # Written aside and renamed, so that a process that has the old library loaded keeps it.
        aside = library.with_suffix(".new")
        aside.write_bytes(Path(scratch, LIBRARY_NAME).read_bytes())
        aside.chmod(0o755)
        aside.replace(library)
    return library


if __name__ == "__main__":
    try:
        print(build())
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"the CPU renderers were not compiled: {error}")
