"""Options of clusters: what there is, what a word on the command line means, what is refused at once."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from chunkflow_liver.errors import ClusterError

SLURM: dict[str, type] = {
    "account": str,
    "config_name": str,
    "cores": int,
    "dashboard_address": str,
    "death_timeout": str,
    "host": str,
    "interface": str,
    "job_cpu": int,
    "job_directives_skip": list,
    "job_extra_directives": list,
    "job_mem": str,
    "job_name": str,
    "job_script_prologue": list,
    "local_directory": str,
    "log_directory": str,
    "memory": str,
    "name": str,
    "nanny": bool,
    "processes": int,
    "protocol": str,
    "python": str,
    "queue": str,
    "scheduler_options": dict,
    "security": object,
    "shared_temp_directory": str,
    "shebang": str,
    "silence_logs": str,
    "walltime": str,
    "worker_command": str,
    "worker_extra_args": list,
}
"""What dask-jobqueue's SLURMCluster takes, and as what. A type must be known to read a word: of '10:30:00'
YAML makes the number 37800, and of the account '0123' the number 83."""

INSTEAD = {
    "asynchronous": "'asynchronous' is not for a run",
    "env_extra": "it is 'job_script_prologue' now",
    "extra": "it is 'worker_extra_args' now",
    "gpus": "use --gpus-per-job N (gpus_per_job=N)",
    "gres": "use --gpus-per-job N (gpus_per_job=N), or job_extra_directives=--gres=...",
    "header_skip": "it is 'job_directives_skip' now",
    "job_extra": "it is 'job_extra_directives' now",
    "mem": "it is 'memory'",
    "memory_limit": "use --memory-gib (memory_gib=)",
    "n_workers": "use --workers (workers=)",
    "partition": "it is 'queue'",
    "project": "it is 'account' now",
    "qos": "use job_extra_directives=--qos=NAME",
    "time": "it is 'walltime'",
}
"""Names that people try, and what they want."""
OURS = ("asynchronous", "memory_limit", "n_workers")
"""Those of them that are arguments of `cluster` for every kind."""


def read_options(kind: str, texts: Sequence[str]) -> dict[str, Any]:
    """Options of a cluster of `kind` from words KEY=VALUE, with the values as their options need them.

    Parameters
    ----------
    kind : {'local', 'cuda', 'slurm'}
        Kind of cluster.
    texts : sequence of str
        Words. An option that is a list may come several times, one entry each, or hold several entries
        in brackets, or, where entries begin with a dash, after commas.

    Raises
    ------
    ClusterError
        If there is no such option, or a value is not of its kind.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise ClusterError(f"expected an option KEY=VALUE of the cluster, got {text!r}")
        key = key.strip().replace("-", "_")
        check_names(kind, [key])
        read = _read(key, value, SLURM.get(key, object) if kind == "slurm" else object)
        if key not in found:
            found[key] = read
        elif isinstance(read, list) and isinstance(found[key], list):
            found[key] += read
        else:
            raise ClusterError(f"option {key!r} of the cluster is given twice: {found[key]!r} and {read!r}")
    return found


def _read(key: str, text: str, wanted: type) -> Any:
    """The value that `text` is for an option of type `wanted`."""
    if wanted is str:
        return text.strip()
    if wanted is list:
        return _entries(key, text)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as err:
        raise ClusterError(f"cannot read the value of option {key!r}: {text!r} ({err})") from err
    return _typed(key, value, wanted)


def _entries(key: str, text: str) -> list[str]:
    """Entries of a list: in brackets as YAML reads them; else a comma before a dash begins another one."""
    text = text.strip()
    if text.startswith("["):
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as err:
            raise ClusterError(f"cannot read the list of option {key!r}: {text!r} ({err})") from err
        return list(_typed(key, value, list))
    if not text:
        return []
    # Commas within an entry are common: --exclude=n1,n2.
    return [part.strip() for part in re.split(r",\s*(?=-)", text)]


def _typed(key: str, value: Any, wanted: type) -> Any:
    """`value`, if it is of the type that option `key` takes."""
    if wanted is list:
        entries = _entries(key, value) if isinstance(value, str) else value
        if not isinstance(entries, list | tuple) or not all(isinstance(e, str) for e in entries):
            raise ClusterError(
                f"option {key!r} of a SLURM cluster is a list of words, got {value!r}; give it once for each "
                "entry, or as '[a, b]' with quotes around entries that hold ': ' or ', '"
            )
        return list(entries)
    if wanted is str and isinstance(value, int | float) and not isinstance(value, bool) and key != "walltime":
        return str(value)
    if wanted is not object and (
        not isinstance(value, wanted) or (wanted is int and isinstance(value, bool))
    ):
        words = {str: "a word", int: "a whole number", bool: "true or false", dict: "a mapping {key: value}"}
        raise ClusterError(f"option {key!r} of a SLURM cluster is {words[wanted]}, got {value!r}")
    return value


def check_options(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` of a cluster of `kind`, checked; entries of lists that came as one word are taken apart.

    Raises
    ------
    ClusterError
        If there is no such option, or a value is not of its kind.
    """
    check_names(kind, list(options))
    if kind != "slurm":
        return dict(options)
    return {key: _typed(key, value, SLURM[key]) for key, value in options.items() if value is not None}


def check_names(kind: str, names: Sequence[str]) -> None:
    """Refuse options that a cluster of `kind` does not have, with the one that was meant.

    Raises
    ------
    ClusterError
        If there is no such option.
    """
    known = set(SLURM) if kind == "slurm" else _parameters(kind)
    if not known:
        return
    instead = INSTEAD if kind == "slurm" else {name: INSTEAD[name] for name in OURS}
    known -= instead.keys()
    for name in names:
        if name in known:
            continue
        close = [name, *difflib.get_close_matches(name, [*known, *instead], n=1)][-1]
        if close in instead:
            meant = f": {instead[close]}"
        else:
            meant = f": did you mean {close!r}?" if close in known else f"; there are {sorted(known)}"
        raise ClusterError(f"a {'SLURM' if kind == 'slurm' else kind} cluster has no option {name!r}{meant}")


def _parameters(kind: str) -> set[str]:
    """Names of what the cluster class of `kind`, and the workers that it hands options to, take."""
    from distributed import LocalCluster, Nanny, Worker

    classes: list[Any] = [LocalCluster, Nanny, Worker]
    if kind == "cuda":
        try:
            from dask_cuda import LocalCUDACluster
        except (ImportError, ValueError, RuntimeError):
            # That it is missing is told where the cluster is started.
            return set()
        classes.append(LocalCUDACluster)
    found = [p for c in classes for p in inspect.signature(c.__init__).parameters.values()]
    return {p.name for p in found if p.kind is not inspect.Parameter.VAR_KEYWORD} - {"self"}
