"""Every system side by side: the same data, the reported numbers beside ours, peers beside us.

    python -m benchmarks.leaderboard list                      # systems, settings and variants
    python -m benchmarks.leaderboard run --setting B --system mask_rcnn --budget 20 --seed 0
    python -m benchmarks.leaderboard classical --seeds 3       # all systems without a net
    python -m benchmarks.leaderboard small                     # a small round of all, in minutes
    python -m benchmarks.leaderboard equal B-mask_rcnn --seed 0  # equal data, equal core-minutes
    python -m benchmarks.leaderboard rates A-unet A-smp_unet   # patches a second, in turns
    python -m benchmarks.leaderboard page                      # docs/guide/leaderboard*.rst

A run is one setting, system, variant and seed. It becomes a row of the setting's table,
``results/A.csv`` for setting A. The pages and their figures are made from these tables alone, each
time that the documentation is built.
"""
