"""Time `import galaxysegment` against `import numpy`, each in fresh processes, alternating.

python benchmarks/bench_import.py
"""

import statistics
import subprocess
import sys
import time

ROUNDS = 15


def seconds(statement):
    """Wall time of a fresh interpreter that runs one statement."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def main():
    statements = {
        "nothing": "pass",
        "import numpy": "import numpy",
        "import galaxysegment": "import galaxysegment",
        "import PhotutilsSegmenter": "from galaxysegment import PhotutilsSegmenter",
    }
    times = {name: [] for name in statements}
    for _ in range(ROUNDS):
        for name, statement in statements.items():
            times[name].append(seconds(statement))
    reference = statistics.median(times["import numpy"])
    for name, values in times.items():
        print(
            f"{name:<46}{statistics.median(values):8.3f} "
            f"s{statistics.median(values) / reference:8.2f} × import numpy"
        )


if __name__ == "__main__":
    main()
