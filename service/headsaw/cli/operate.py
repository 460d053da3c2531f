"""What operators run besides the service. Each command loads the configuration, calls the library, shows the result."""

import typer

from headsaw.adapters.local import create_resources
from headsaw.cli import audit, look, repair, rework
from headsaw.cli.shared import ConfigOption, JsonOption, load_config, out, print_json, run_async


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    look.register(app)
    audit.register(app)
    rework.register(app)
    repair.register(app)
    app.command("local-setup")(local_setup)


def local_setup(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Create queues, buckets and ledger in a local AWS (AWS_ENDPOINT_URL on a loopback address)."""
    settings = load_config(config)
    run_async(create_resources(settings))
    if as_json:
        print_json({"created": True})
    else:
        out.print("Queues, buckets and the ledger table exist.")
