"""torchrun, with its options, for trainings that may be stopped: `python -m trm.torchrun --nproc-per-node 4 -m trm ...`

It ends with 75 where the ranks did, which torchrun makes a 1 of with a page of traceback. It hands signals on to the
ranks and waits until they have saved; torchrun would kill them after 30 seconds. Nodes find each other by the job's
number: jobs that share a node meet at different ports.
"""

import logging
import os
import signal
import sys
from types import FrameType

import psutil

STOPPED = 75  # exit status of ranks that go on when started again


def meeting() -> list[str]:
    """Options of torchrun for this node of a SLURM step: it began on the first node, which the others come to."""
    if "SLURM_JOB_ID" not in os.environ:
        sys.exit("trm.torchrun: --nnodes: several nodes need a SLURM job, expected 1 outside of one")
    if int(os.environ.get("SLURM_STEP_NUM_NODES", "1")) == 1:  # the others would be waited for in vain
        sys.exit("trm.torchrun: --nnodes: this step has one node (a container has no srun for another), expected 1")
    port = 10_000 + int(os.environ["SLURM_JOB_ID"]) % 20_000  # below those that systems give to outgoing connections
    address = os.environ["SLURM_LAUNCH_NODE_IPADDR"]
    return ["--node-rank", os.environ["SLURM_NODEID"], "--master-addr", address, "--master-port", str(port)]


def hand_on(number: int, frame: FrameType | None) -> None:
    """TERM to the ranks, whatever came; before there are any, there is nothing to save."""
    ranks = psutil.Process().children()
    if not ranks:
        raise SystemExit(STOPPED)
    for rank in ranks:
        rank.send_signal(signal.SIGTERM)


def main(arguments: list[str]) -> int:
    """Run the ranks; returns the status of the first that ended otherwise than well."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, hand_on)
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)  # told below
    nodes = parse_args(arguments).nnodes
    where = ["--standalone"] if nodes in ("1", "1:1") else meeting()
    try:
        run(parse_args(["--signals-to-handle", "SIGQUIT", *where, *arguments]))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode != STOPPED:  # those that stopped have said so
            print(f"trm.torchrun: rank {rank} was the first to end, with status {failure.exitcode}", file=sys.stderr)
        return failure.exitcode if failure.exitcode > 0 else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
