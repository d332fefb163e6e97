"""The renderers' tests once more, with kernels that stop at the first wrong access or undefined
operation."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from renderers.kernels.build import build

HERE = Path(__file__).parent


def _runtime(name):
    """Where the compiler keeps a sanitizer's runtime, or None."""
    compiler = os.environ.get("CXX", "c++")
    if not sys.platform.startswith("linux") or not shutil.which(compiler):
        return None
    found = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
    return found if os.path.isabs(found) and os.path.exists(found) else None


@pytest.mark.timeout(900)
def test_kernels_run_clean_under_the_sanitizers(tmp_path):
    address, undefined = _runtime("libasan.so"), _runtime("libubsan.so")
    if not address or not undefined:
        pytest.skip("no sanitizers here: they come with GCC on Linux")
    library = build(tmp_path, sanitize=True)
    environment = {
        **os.environ,
        "RL3D_KERNELS": str(library),
        "LD_PRELOAD": f"{address} {undefined}",
        # Python and torch leave memory at exit by design; what is asked here is that no access is
        # wrong.
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    # A forked child of an instrumented process would spend its time in the sanitizer.
    tests = [str(HERE / name) for name in ("test_splat_cpu.py", "test_mesh.py", "test_degenerate.py")]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-k",
        "not fork and not library",
        *tests,
    ]
    done = subprocess.run(command, env=environment, cwd=HERE.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert " passed" in done.stdout
