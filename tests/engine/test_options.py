"""Options of clusters: a word becomes what its option takes; what there is not is refused by name."""

from __future__ import annotations

import inspect

import pytest
import yaml

from chunkflow_liver.engine.options import INSTEAD, SLURM, check_names, check_options, read_options
from chunkflow_liver.errors import ClusterError

core = pytest.importorskip("dask_jobqueue.core")
slurm = pytest.importorskip("dask_jobqueue.slurm")


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["job_extra_directives=--gres=gpu:1"], {"job_extra_directives": ["--gres=gpu:1"]}),
        (["job-extra-directives=--qos=long"], {"job_extra_directives": ["--qos=long"]}),
        (
            ["job_extra_directives=--gres=gpu:1,--exclude=n1,n2, --qos=long"],
            {"job_extra_directives": ["--gres=gpu:1", "--exclude=n1,n2", "--qos=long"]},
        ),
        (
            ["job_extra_directives=[--exclusive, '--mail-type=END,FAIL']"],
            {"job_extra_directives": ["--exclusive", "--mail-type=END,FAIL"]},
        ),
        (
            ["job_extra_directives=--exclusive", "job_extra_directives=--qos=long"],
            {"job_extra_directives": ["--exclusive", "--qos=long"]},
        ),
        (
            ["job_script_prologue=module load cuda, gcc", "job_script_prologue=ulimit -n 4096"],
            {"job_script_prologue": ["module load cuda, gcc", "ulimit -n 4096"]},
        ),
        (["job_directives_skip="], {"job_directives_skip": []}),
        # YAML makes numbers of these: 37800, 83, and True.
        (["walltime=10:30:00", "account=0123", "queue=on"], {"walltime": "10:30:00", "account": "0123"}),
        (["cores=4", "nanny=false"], {"cores": 4, "nanny": False}),
        (
            ["scheduler_options={dashboard_address: ':8787'}"],
            {"scheduler_options": {"dashboard_address": ":8787"}},
        ),
        ([], {}),
    ],
)
def test_a_word_becomes_what_its_option_takes(texts, wanted):
    got = read_options("slurm", texts)
    assert {key: got[key] for key in wanted} == wanted
    assert got.keys() - wanted.keys() <= {"queue"}
    assert got.get("queue", "on") == "on"


def test_options_in_python_are_the_same_as_on_the_command_line():
    assert check_options("slurm", {"job_extra_directives": "--gres=gpu:1", "account": 123, "cores": 2}) == {
        "job_extra_directives": ["--gres=gpu:1"],
        "account": "123",
        "cores": 2,
    }
    assert check_options("slurm", {"worker_extra_args": ("--lifetime", "1h"), "queue": None}) == {
        "worker_extra_args": ["--lifetime", "1h"]
    }
    assert read_options("local", ["processes=false"]) == {"processes": False}
    # A number of minutes or of seconds? SLURM would take minutes.
    with pytest.raises(ClusterError, match="option 'walltime' of a SLURM cluster is a word, got 37800"):
        check_options("slurm", {"walltime": 37800})


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        ("slurm", "waltime=3", "a SLURM cluster has no option 'waltime': did you mean 'walltime'?"),
        ("slurm", "partition=gpu", "no option 'partition': it is 'queue'"),
        ("slurm", "job_extra=--qos=a", "no option 'job_extra': it is 'job_extra_directives' now"),
        ("slurm", "gres=gpu:1", "no option 'gres': use --gpus-per-job N"),
        ("slurm", "n_workers=3", "no option 'n_workers': use --workers"),
        ("slurm", "xyzzy=3", "no option 'xyzzy'; there are ['account', "),
        ("slurm", "cores=four", "option 'cores' of a SLURM cluster is a whole number, got 'four'"),
        ("slurm", "cores=true", "option 'cores' of a SLURM cluster is a whole number, got True"),
        ("slurm", "scheduler_options=3", "is a mapping {key: value}, got 3"),
        ("slurm", "job_extra_directives=[--a, {b: 1}]", "is a list of words, got ['--a', {'b': 1}]"),
        ("slurm", "job_extra_directives=[--a", "cannot read the list of option 'job_extra_directives'"),
        ("slurm", "scheduler_options={a", "cannot read the value of option 'scheduler_options'"),
        ("slurm", "queue", "expected an option KEY=VALUE of the cluster, got 'queue'"),
        (
            "local",
            "local_dir=x",
            "a local cluster has no option 'local_dir': did you mean 'local_directory'?",
        ),
        ("local", "memory_limit=1GB", "a local cluster has no option 'memory_limit': use --memory-gib"),
    ],
)
def test_what_there_is_not_is_refused_with_what_is_meant(kind, text, says):
    with pytest.raises(ClusterError) as caught:
        read_options(kind, [text])
    assert says in str(caught.value)


def test_an_option_that_is_no_list_comes_once():
    with pytest.raises(ClusterError, match="option 'queue' of the cluster is given twice: 'a' and 'b'"):
        read_options("slurm", ["queue=a", "queue=b"])


def test_options_of_a_gpu_cluster_are_checked_where_its_package_is(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "dask_cuda", None)
    check_names("cuda", ["rmm_pool_size"])


def test_all_options_of_dask_jobqueue_are_known_or_left_out_on_purpose():
    classes = (core.Job, core.JobQueueCluster, slurm.SLURMJob)
    takes = {name for c in classes for name in inspect.signature(c.__init__).parameters}
    inner = {"base_class_kwargs", "job_cls", "job_kwargs", "loop", "scheduler", "scheduler_cls", "self"}
    assert takes - set(INSTEAD) - inner == set(SLURM)
    with open(core.__file__.replace("core.py", "jobqueue.yaml")) as file:
        defaults = yaml.safe_load(file)["jobqueue"]["slurm"]
    lists = {key.replace("-", "_") for key, value in defaults.items() if isinstance(value, list)}
    assert lists == {key for key, kind in SLURM.items() if kind is list}
