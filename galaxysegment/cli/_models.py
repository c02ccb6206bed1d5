"""List the trained nets that ship with the package, or show the card of a net."""


def add_arguments(parser):
    """Declare the command's arguments."""
    parser.add_argument(
        "name", nargs="?", default=None, help="name of a net, to print its card and checksum"
    )


def run(arguments):
    """Print a table of the nets, or the card of a net."""
    from .._utils.shipped import shipped_models

    models = shipped_models()
    if arguments.name is None:
        _print_table(models)
        return
    chosen = [model for model in models if arguments.name in _names(model)]
    if not chosen:
        known = ", ".join(dict.fromkeys(model.name for model in models))
        raise ValueError(f"There is no shipped net {arguments.name!r}: choose from {known}.")
    for model in chosen:
        _print_card(model)


def _names(model):
    return model.name, f"{model.estimator}-{model.name}"


def _command(model):
    """Return the command that uses a net."""
    if model.estimator.endswith("Separator"):
        method = model.estimator.removesuffix("Separator").lower()
        return f"separate IMAGE --separator {method} --set-separator weights={model.name}"
    method = model.estimator.removesuffix("Segmenter").lower()
    return f"segment IMAGE --method {method} --set weights={model.name}"


def _print_table(models):
    print(f"{'name':<12}{'estimator':<18}{'version':<9}{'MB':>6}  {'sha256':<14}{'finds'}")
    for model in models:
        size = model.path.stat().st_size / 1e6
        print(
            f"{model.name:<12}{model.estimator:<18}{model.version:<9}{size:>6.1f}  "
            f"{model.sha256[:12]:<14}{model.summary}"
        )
    print("\ngalaxysegment models NAME prints the card of a net: training data, scores, limits.")


def _print_card(model):
    state = "intact" if model.is_intact() else "DAMAGED: another checksum; install the package anew"
    print(f"estimator  {model.estimator}(weights={model.name!r})")
    print(f"command    galaxysegment {_command(model)}")
    print(f"version    {model.version}")
    print(f"file       {model.path} ({state})")
    print(f"sha256     {model.sha256}")
    print(f"recipe     {model.recipe}\n")
    print(model.card_text(), end="")
