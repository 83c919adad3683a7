"""How kernels come from disk."""

from __future__ import annotations

import subprocess
import sys


def test_a_kernel_kept_on_disk_is_loaded_without_what_numba_imports_to_compile() -> None:
    code = (
        "import sys, numpy as np; from backtest.expressions.order_statistics import window_rank;"
        "print(window_rank(np.array([3.0, 1.0, 2.0]), 3, 1).tolist(), 'numba.np.linalg' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert first.startswith("[1.0, 0.5, 0.6666666666666666]")
    assert second == "[1.0, 0.5, 0.6666666666666666] False\n"
