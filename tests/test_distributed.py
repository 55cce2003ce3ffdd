"""Several processes of one run: sums and gathers, one error for all, devices, launchers' words."""

import pytest
import torch

from gsto_viz.distributed import ALONE, World, join_world
from gsto_viz.errors import GstoVizError

BODY = '''
from gsto_viz.distributed import join_world
from gsto_viz.errors import GstoVizError

def failing(world, ranks):
    """What leaves a block in which the processes of ``ranks`` fail."""
    try:
        with world.together():
            if world.rank in ranks:
                raise GstoVizError(f"process {world.rank} cannot, \u00e4")
    except GstoVizError as error:
        return [type(error).__name__, str(error)]
    return None

def nested(world):
    """One process fails before a block that lies in the failing one, the others in it."""
    try:
        with world.together():
            if world.rank == 1:
                raise GstoVizError("early")
            with world.together():
                pass
    except GstoVizError as error:
        return str(error)

def body():
    with join_world("cpu") as (world, device):
        mine = torch.arange(3.0) * (world.rank + 1)
        return {
            "world": [world.rank, world.size, world.local_size, world.is_main, str(device)],
            "share": list(world.share(8)),
            "sum": world.sum(mine).tolist(),
            "kept": mine.tolist(),
            "gather": [t.tolist() for t in world.gather(mine)],
            "bytes": [b.hex() for b in world.gather_bytes(bytes(range(world.rank)))],
            "any": [world.any(world.rank == 2), world.any(False)],
            "errors": [failing(world, ranks) for ranks in ([], [1], [2, 1], [0])],
            "nested": nested(world),
            "after": world.sum(torch.tensor(1)).item(),
        }
'''


def test_three_processes_agree(run_world) -> None:
    for rank, said in enumerate(run_world(BODY, 3)):
        assert said["world"] == [rank, 3, 3, rank == 0, "cpu"]
        assert said["share"] == [[0, 3, 6], [1, 4, 7], [2, 5]][rank]
        assert said["sum"] == [0.0, 6.0, 12.0]
        assert said["kept"] == [0.0, rank + 1.0, 2.0 * (rank + 1)]
        assert said["gather"] == [[0, 1, 2], [0, 2, 4], [0, 3, 6]]
        assert said["bytes"] == ["", "00", "0001"]
        assert said["any"] == [True, False]
        kind = "AgreedError" if rank == 0 else "SaidElsewhereError"
        first = [None, 1, 1, 0]
        assert said["errors"] == [
            None if who is None else [kind, f"process {who} cannot, ä"] for who in first
        ]
        assert said["nested"] == "early"
        assert said["after"] == 3


def test_alone_there_is_nothing_to_do() -> None:
    value = torch.ones(2)
    assert ALONE.sum(value) is value
    assert ALONE.gather(value)[0] is value
    assert ALONE.gather_bytes(b"mine") == [b"mine"]
    assert ALONE.is_main
    assert list(ALONE.share(3)) == [0, 1, 2]
    assert ALONE.any(True)
    assert not ALONE.any(False)
    error = GstoVizError("no")
    with pytest.raises(GstoVizError, match="no") as caught, ALONE.together():
        raise error
    assert caught.value is error
    with ALONE.together():
        pass
    with join_world("cpu") as (world, device):
        assert world == World()
        assert device == torch.device("cpu")


@pytest.mark.parametrize(
    ("environment", "device", "message"),
    [
        ({"RANK": "one"}, "cpu", "RANK is 'one' in the environment; start with torchrun"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "cpu", "another process of this run .*MASTER_ADDR"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "cpu:0", "is one device; with several processes"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "tpu", "unknown device 'tpu'"),
    ],
)
def test_launches_that_cannot_work(
    environment: dict[str, str], device: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(GstoVizError, match=message), join_world(device):
        pass


def test_each_process_takes_the_gpu_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    from gsto_viz import distributed

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [distributed._own_device("auto", rank).index for rank in (0, 1)] == [0, 1]
    with pytest.raises(GstoVizError, match=r"process 2 .* there are 2; lower --nproc-per-node"):
        distributed._own_device("cuda", 2)


def test_a_rank_without_a_world_is_somebody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    with join_world("cpu") as (world, _):
        assert world == World()
