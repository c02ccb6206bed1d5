"""The command line; see the package's docstring."""

import argparse
import itertools
import time
import traceback
from pathlib import Path

from .run import RESULTS, key, run, table_path
from .settings import SCALES, SETTINGS
from .systems import SYSTEMS
from .table_file import read_runs


def main(words=None):
    options = _parser().parse_args(words)
    options.failed, options.what = [], "runs failed"
    options.do(options)
    if options.failed:
        raise SystemExit(f"{len(options.failed)} {options.what}: {', '.join(options.failed)}")


def _parser():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leaderboard", description=__doc__)
    commands = parser.add_subparsers(required=True)
    single = commands.add_parser("run", help="one system in one setting")
    single.add_argument("--setting", choices=list(SETTINGS), required=True)
    single.add_argument("--system", choices=list(SYSTEMS), required=True)
    single.add_argument(
        "--variant", help="preprocessing: all variants by default; 'main' is the system's main one"
    )
    _add_common(single)
    single.set_defaults(do=run_system)
    classical = commands.add_parser("classical", help="all systems without a net")
    classical.add_argument("--setting", choices=list(SETTINGS), action="append")
    _add_common(classical)
    classical.add_argument("--skip", choices=list(SYSTEMS), action="append", default=[])
    classical.set_defaults(do=run_classical)
    small = commands.add_parser("small", help="a taste of everything, in minutes")
    small.add_argument("--setting", choices=list(SETTINGS), action="append")
    _add_common(small, scale="small", budget=0.5, seeds=1, results=Path("build/leaderboard"))
    small.add_argument("--skip", choices=list(SYSTEMS), action="append", default=["unet_long"])
    small.set_defaults(do=run_small)
    equal = commands.add_parser("equal", help="a net at equal data and processor minutes")
    equal.add_argument("recipe", help="name of a file in equal_recipes, without .toml")
    equal.add_argument("--seed", type=int, default=0)
    equal.add_argument("--results", type=Path, default=RESULTS)
    equal.add_argument("--checkpoints", type=Path, default=Path("build/leaderboard/checkpoints"))
    equal.add_argument("--scale", choices=SCALES, default="full")
    equal.set_defaults(do=run_recipe)
    rates = commands.add_parser("rates", help="patches a second of nets, measured in turns")
    rates.add_argument("recipes", nargs="+", help="names of files in equal_recipes, without .toml")
    rates.add_argument("--patches", type=int, default=64)
    rates.add_argument("--turns", type=int, default=3)
    rates.set_defaults(do=print_rates)
    limit = commands.add_parser("limit", help="F1 of a net if the truth split its regions")
    limit.add_argument("net", type=Path, help="file that --keep wrote")
    limit.add_argument("--setting", choices=list(SETTINGS), default="A")
    limit.add_argument("--seed", type=int, default=0)
    limit.add_argument("--scale", choices=SCALES, default="full")
    limit.set_defaults(do=show_limit)
    check = commands.add_parser("check", help="repeat our stored rows that need no training")
    check.add_argument("--setting", choices=list(SETTINGS), action="append")
    check.add_argument("--system", choices=list(SYSTEMS), action="append")
    check.add_argument("--seed", type=int, help="one seed; all by default")
    check.add_argument("--results", type=Path, default=RESULTS)
    check.set_defaults(do=check_rows)
    listing = commands.add_parser("list", help="systems, settings, variants and stored runs")
    listing.add_argument("--results", type=Path, default=RESULTS)
    listing.set_defaults(do=show)
    page = commands.add_parser("page", help="make the page and its figures from the stored results")
    page.add_argument("--results", type=Path, default=RESULTS)
    page.add_argument("--output", type=Path, default=Path("docs/guide/leaderboard.rst"))
    page.set_defaults(do=make_page)
    readme = commands.add_parser("readme", help="print the README's table from the stored results")
    readme.add_argument("--results", type=Path, default=RESULTS)
    readme.set_defaults(do=print_readme)
    return parser


def _add_common(parser, scale="full", budget=20.0, seeds=3, results=RESULTS):
    parser.add_argument("--seed", type=int, help="one seed; --seeds N does 0 … N - 1")
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument(
        "--budget", type=float, default=budget, help="minutes of training of each net on two cores"
    )
    parser.add_argument(
        "--speed", type=float, default=1.0, help="how many times as fast as these this machine is"
    )
    parser.add_argument(
        "--clock", action="store_true", help="end the training by the clock, whatever the machine"
    )
    parser.add_argument(
        "--scale", choices=SCALES, default=scale, help="number of patches to test on"
    )
    parser.add_argument("--results", type=Path, default=results)
    parser.add_argument("--keep", type=Path, help="folder that keeps the trained nets")
    parser.add_argument(
        "--reuse", action="store_true", help="take nets from there instead of training"
    )
    parser.add_argument(
        "--short", action="store_true", help="leave out the conditions that nothing was tuned on"
    )
    parser.add_argument("--missing", action="store_true", help="leave out runs that are stored")


def run_system(options):
    system = SYSTEMS[options.system]
    variants = system.variants.get(options.setting, ())
    if options.variant == "main":
        variants = variants[-1:]
    elif options.variant:
        variants = (options.variant,)
    for variant in variants:
        for seed in _seeds(options):
            _do(options, options.setting, options.system, variant, seed)


def _seeds(options):
    return range(options.seeds) if options.seed is None else (options.seed,)


def run_classical(options):
    _do_all(options, [name for name, system in SYSTEMS.items() if not system.net])


def run_small(options):
    _do_all(options, SYSTEMS, slice(-1, None))
    options.output = options.results / "leaderboard.rst"
    print_readme(options)
    make_page(options)


def _do_all(options, names, variants=slice(None)):
    """Run these variants of these systems in every setting asked for."""
    wanted = [name for name in names if name not in options.skip]
    for setting, seed, name in itertools.product(
        options.setting or SETTINGS, _seeds(options), wanted
    ):  # seeds before systems: the fields of a seed are drawn once
        for variant in SYSTEMS[name].variants.get(setting, ())[variants]:
            _do(options, setting, name, variant, seed)


def _do(options, setting, system, variant, seed):
    job = {
        "setting": setting,
        "system": system,
        "variant": variant,
        "seed": seed,
        "budget": options.budget,
        "scale": options.scale,
        "speed": options.speed,
        "clock": options.clock,
        **({"short": True} if options.short else {}),
    }
    if options.missing and key(job) in _stored(options.results, setting):
        return
    start = time.perf_counter()
    try:
        run(job, options.results, options.keep, options.reuse)
    except Exception:  # the other runs go on; `main` reports the failures at the end
        traceback.print_exc()
        options.failed.append(key(job))
        return
    path = table_path(options.results, job)
    print(f"{path}  {key(job)}  {time.perf_counter() - start:.1f} s", flush=True)


def _stored(results, setting):
    """Keys of the runs in a setting's table."""
    return {key(row) for row in read_runs(table_path(results, {"setting": setting}))}


def run_recipe(options):
    from .equal import read_recipe, run_equal

    recipe = read_recipe(options.recipe)
    print(run_equal(recipe, options.seed, options.results, options.checkpoints, options.scale))


def print_rates(options):
    from .pace import rates, report

    for line in report(rates(options.recipes, options.patches, options.turns)):
        print(line)


def show_limit(options):
    from .limit import print_limit

    print_limit(options.net, options.setting, options.seed, options.scale)


def check_rows(options):
    from .check import is_repeatable, report

    options.what = "rows are not what today's code gives"
    for setting in options.setting or SETTINGS:
        for row in read_runs(table_path(options.results, {"setting": setting})):
            wanted = options.seed in (None, row["seed"])
            wanted &= not options.system or row["system"] in options.system
            if wanted and is_repeatable(row):
                same, line = report(row)
                print(line, flush=True)
                options.failed += [] if same else [key(row)]


def show(options):
    stored = sorted(name for setting in SETTINGS for name in _stored(options.results, setting))
    for name, system in SYSTEMS.items():
        for setting, variants in system.variants.items():
            for variant in variants:
                seeds = [
                    stored_key.rsplit(".", 1)[1]
                    for stored_key in stored
                    if stored_key.startswith(f"{setting}.{name}.{variant}.")
                ]
                print(
                    f"{setting} {name:24s} {variant:7s} seeds stored: {', '.join(seeds) or 'none'}"
                )


def make_page(options):
    from .page import write_page

    print(write_page(options.results, options.output))


def print_readme(options):
    from .page import readme_table
    from .store import Store

    print(readme_table(Store(options.results)))


if __name__ == "__main__":
    main()
