"""Libraries that are installed on demand: which modules they have, and the command that brings them.

Thresher itself may come from a checkout or from a wheel of one's own, so the command names the libraries: it works as
it is written wherever pip works. ``setup.cfg`` has the same lists for ``pip install '.[sql]'`` in a checkout.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.util import find_spec

#: For each extra the modules that are imported, and the requirement that brings each.
EXTRAS = {
    "kafka": {"confluent_kafka": "confluent-kafka>=2.6"},
    "monitor": {"aiohttp": "aiohttp>=3.14.4", "prometheus_client": "prometheus-client>=0.20"},
    "numbers": {"numpy": "numpy>=1.26"},
    "otel": {"opentelemetry.sdk": "opentelemetry-sdk>=1.25",
             "opentelemetry.exporter.otlp.proto.http": "opentelemetry-exporter-otlp-proto-http>=1.25"},
    "parquet": {"pyarrow": "pyarrow>=18.0"},
    "rabbitmq": {"pika": "pika>=1.3.2"},
    "sql": {"sqlalchemy": "sqlalchemy>=2.0", "psycopg": "psycopg[binary]>=3.1"},
    "watch": {"watchfiles": "watchfiles>=1.0"},
    "zstd": {"zstandard": "zstandard>=0.19"},
}


def how_to_install(extra: str) -> str:
    """Return the command that installs an extra: ``pip install 'numpy>=1.26'``."""
    return "pip install " + " ".join(f"'{requirement}'" for requirement in EXTRAS[extra].values())


def lacking(modules: Iterable[str]) -> str:
    """Say which of these modules of extras are not installed, and how they are; nothing, when all are."""
    gone = [module for module in modules if not is_installed(module)]
    requirements = {module: requirement for extra in EXTRAS.values() for module, requirement in extra.items()}
    names = " and ".join(re.split(r"[\[>=]", requirements[module])[0] for module in gone)
    return f"{names}: pip install " + " ".join(f"'{requirements[module]}'" for module in gone) if gone else ""


def is_installed(module: str) -> bool:
    """Whether a module can be found; nothing is imported but the packages that it is in."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # not even what it is a part of; or it is kept out by name
        return False


def missing(extra: str) -> list[str]:
    """Return the modules of an extra that cannot be found."""
    return [module for module in EXTRAS[extra] if not is_installed(module)]
