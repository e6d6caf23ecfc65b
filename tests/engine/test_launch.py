"""What the environment variables of launchers say."""

from __future__ import annotations

import pytest

from videopool.engine.cluster.launch import Launch, expand_hosts, read_launch
from videopool.errors import InputError

TORCHRUN = {
    "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "node1",
    "MASTER_PORT": "29400", "TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_USE_AGENT_STORE": "True",
}  # fmt: skip
# What srun sets in a task: step 0 of job 4711, 5 tasks on 3 nodes, 2 on each but the last.
STEP = {
    "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "5", "SLURM_NTASKS": "5", "SLURM_PROCID": "4",
    "SLURM_LOCALID": "0", "SLURM_NODEID": "2", "SLURM_STEP_NODELIST": "node[08-10]",
    "SLURM_JOB_NODELIST": "node[07-10]", "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
}  # fmt: skip
# What sbatch sets in its script, and salloc in its shell: an allocation for 8 tasks, one process.
BATCH = {
    "SLURM_JOB_ID": "4711", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0",
    "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_TASKS_PER_NODE": "4(x2)",
}  # fmt: skip
MPIRUN = {
    "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "PMIX_RANK": "3", "PMIX_NAMESPACE": "prterun-1@1",
}  # fmt: skip


def test_one_process() -> None:
    assert read_launch({}) == Launch() == Launch(0, 1, 0, 1, "", 0, "none")
    assert read_launch({"RANK": "0", "WORLD_SIZE": "1"}) == Launch()


def test_torchrun() -> None:
    assert read_launch(TORCHRUN) == Launch(5, 8, 1, 4, "node1", 29400, "torchrun", agent_store=True)
    assert read_launch({**TORCHRUN, **STEP}).launcher == "torchrun"  # torchrun as a task of srun


def test_who_keeps_the_store_open() -> None:
    assert not read_launch({**TORCHRUN, "RANK": "0"}).serves  # torchrun does
    assert read_launch({**STEP, "SLURM_PROCID": "0"}).serves
    assert not read_launch(STEP).serves


def test_own_launcher() -> None:
    given = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "pod-0", "MASTER_PORT": "23456"}  # one process per pod
    assert read_launch(given) == Launch(1, 2, 0, 1, "pod-0", 23456, "environment")


@pytest.mark.parametrize("missing", ["RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_own_launcher_without_a_variable(missing: str) -> None:
    given = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "pod-0", "MASTER_PORT": "23456"}
    del given[missing]
    with pytest.raises(InputError, match=f"WORLD_SIZE=2 is set without {missing}"):
        read_launch(given)


def test_slurm_step() -> None:
    launch = read_launch(STEP)
    assert (launch.rank, launch.size, launch.local_rank, launch.local_size) == (4, 5, 0, 1)
    assert (launch.address, launch.launcher) == ("node08", "slurm")
    others = [{**STEP, "SLURM_PROCID": str(rank), "SLURM_LOCALID": "1", "SLURM_NODEID": "0"} for rank in (1, 3)]
    assert {read_launch(other).port for other in others} == {launch.port}
    assert [read_launch(other).local_size for other in others] == [2, 2]
    assert 20_000 <= launch.port < 30_000
    assert read_launch({**STEP, "SLURM_STEP_ID": "1"}).port != launch.port
    chosen = read_launch({**STEP, "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "1234"})
    assert (chosen.address, chosen.port) == ("10.0.0.1", 1234)


@pytest.mark.parametrize(
    "given",
    [
        BATCH,
        {key: value for key, value in BATCH.items() if key != "SLURM_PROCID"},  # salloc with a shell on the login node
        {**BATCH, "SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "1"},  # salloc with an interactive step
        {**BATCH, "SLURM_STEP_ID": "4294967291", "SLURM_STEP_NUM_TASKS": "8"},  # the batch step
        {**BATCH, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1"},  # srun -n 1, srun --pty bash
    ],
)
def test_a_shell_in_a_slurm_allocation_is_one_process(given: dict[str, str]) -> None:
    assert read_launch(given) == Launch()


def test_open_mpi() -> None:
    with pytest.raises(InputError, match=r"MASTER_ADDR is not set\. mpirun does not say where the processes meet"):
        read_launch(MPIRUN)
    launch = read_launch({**MPIRUN, "MASTER_ADDR": "a", "MASTER_PORT": "1234"})
    assert launch == Launch(3, 4, 1, 2, "a", 1234, "openmpi")
    assert read_launch({**MPIRUN, **BATCH}).address == "node1"  # the first host of the allocation
    one = {**MPIRUN, "OMPI_COMM_WORLD_LOCAL_RANK": "3", "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}
    assert read_launch(one).address == "127.0.0.1"
    # mpirun inside a job: srun starts its daemons, one task per node, as a step of 3 tasks.
    assert read_launch({**STEP, **MPIRUN}).size == 4


def test_pmi() -> None:
    with pytest.raises(InputError, match="MASTER_ADDR is not set"):
        read_launch({"PMI_RANK": "1", "PMI_SIZE": "4"})
    hydra = {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
    launch = read_launch(hydra)
    assert (launch.rank, launch.size, launch.local_rank, launch.address) == (1, 2, 1, "127.0.0.1")
    ports = {read_launch({**hydra, "PMI_RANK": rank, "PMI_ID": rank}).port for rank in ("0", "1")}
    assert len(ports) == 1  # PMI_ID is the number of the process
    assert read_launch({"PMI_RANK": "0", "PMI_SIZE": "1"}) == Launch()
    with pytest.raises(InputError, match="PMIX_RANK=3 is set without the number of processes"):
        read_launch({"PMIX_RANK": "3"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"RANK": "8"}, "describes process 8 of 8"),
        ({"LOCAL_RANK": "4"}, "4 of 4 on this machine"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two is not a whole number"),
    ],
)
def test_variables_that_cannot_be(change: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_launch({**TORCHRUN, **change})


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("login", ["login"]),
        ("node[01-03,7]", ["node01", "node02", "node03", "node7"]),
        ("a,gpu-b[9-11]-ib,c", ["a", "gpu-b9-ib", "gpu-b10-ib", "gpu-b11-ib", "c"]),
        ("r[1-2]n[01-02]", ["r1n01", "r1n02", "r2n01", "r2n02"]),
        ("a.example.org,b", ["a.example.org", "b"]),
    ],
)
def test_host_lists(text: str, hosts: list[str]) -> None:
    assert expand_hosts(text) == hosts


@pytest.mark.parametrize("text", ["", "node[1-", "node[a]", "a b", "node]"])
def test_what_is_no_host_list(text: str) -> None:
    with pytest.raises(InputError, match="is not a SLURM host list"):
        expand_hosts(text)
