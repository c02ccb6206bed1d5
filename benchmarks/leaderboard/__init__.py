"""Every system side by side: the same data, the reported numbers beside ours, peers beside us.

    python -m benchmarks.leaderboard list                      # systems, settings and variants
    python -m benchmarks.leaderboard run --setting B --system mask_rcnn --budget 20 --seed 0
    python -m benchmarks.leaderboard classical --seeds 3       # all that needs no net
    python -m benchmarks.leaderboard small                     # a taste of everything, in minutes
    python -m benchmarks.leaderboard page                      # docs/guide/leaderboard.rst from the stored results

A run is one setting, system, variant and seed; it becomes one JSON file in ``results/``, from which
alone the page, its figures and the README's table are made.
"""
