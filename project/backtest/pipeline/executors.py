"""Where stage instances run: worker processes of this machine, a Dask cluster, or this process itself."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import queue
import signal
import threading
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor, Future
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeAlias, TypeVar

from backtest.errors import MisuseError, RunError
from backtest.pipeline.worker import serve

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

P = ParamSpec("P")
T = TypeVar("T")
_Worker: TypeAlias = "tuple[SpawnProcess, Connection]"

SCHEDULER_VARIABLE: Final = "BACKTEST_SCHEDULER"
SCHEDULER_TIMEOUT_SECONDS: Final = 10
# One thread each: how many take part in a sum would otherwise decide its last digits.
SINGLE_THREADED: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class WorkerDied(Exception):  # noqa: N818 - reads as what happened
    """A worker process ended while it ran a task: killed, out of memory, or crashed in native code.

    `hint` says what mends it.
    """

    def __init__(self, pid: int | None, exit_code: int | None) -> None:
        super().__init__(f"the worker process {pid} {_how_ended(exit_code)}")
        self.pid = pid
        self.hint = (
            "Free memory, or run fewer at a time: BACKTEST_WORKERS=1"
            if exit_code is None or exit_code < 0
            else "It ended of its own accord; what it wrote to stderr tells why. A script that starts runs does so below "
            'if __name__ == "__main__":, as workers import it'
        )


class Workers(Executor):
    """An executor that can be stopped at once, and tells who wrote for it."""

    n_workers: int = 1

    @property
    def pids(self) -> frozenset[int]:
        """Processes of this host that were started for it and may have left half-written files."""
        return frozenset()

    def expect_tasks(self, at_least: int = 1) -> None:
        """So many tasks are about to come: begin what takes time before the first one."""

    def expect_none(self) -> None:
        """No more tasks will come: begin to end what would run them. `shutdown` or `kill` still follows."""

    @abstractmethod
    def kill(self) -> None:
        """End at once whatever runs; tasks under way come to nothing."""


ExecutorFactory: TypeAlias = Callable[[int], Workers]


def executor_factory_for(scheduler: str | None) -> ExecutorFactory:
    """Dask's executor for the address of a scheduler (``tcp://host:port``), else worker processes."""
    if not scheduler:
        return ProcessWorkers
    if not scheduler.startswith(("tcp://", "tls://")):
        raise MisuseError(
            f"{SCHEDULER_VARIABLE}={scheduler} is not a Dask address. "
            f"Example: {SCHEDULER_VARIABLE}=tcp://10.0.0.5:8786; without it the run uses this machine's processors."
        )
    return lambda _workers: DaskWorkers(scheduler)


def available_cores() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class SerialWorkers(Workers):
    """Runs each task at once in this process: for debuggers and tests."""

    def __init__(self, _workers: int = 1) -> None:
        self.n_workers = 1

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as fault:  # noqa: BLE001 - belongs to whoever waits for the result
            future.set_exception(fault)
        return future

    def kill(self) -> None:
        """Nothing runs on when control is back here."""


class ProcessWorkers(Workers):
    """Spawned worker processes, one task each at a time, started as tasks come and reused.

    Differs from ProcessPoolExecutor in that the death of a worker fails the one task it ran, by WorkerDied, and
    leaves the others alone. Never forks: Polars runs threads, whose locks a fork would copy in an arbitrary state.
    Each worker gets an equal share of the processors for Polars. Where tasks are expected workers are
    started early, as their imports take time.
    """

    def __init__(self, workers: int) -> None:
        self.n_workers = max(1, workers)
        self._context = multiprocessing.get_context("spawn")
        self._environment = {
            "POLARS_MAX_THREADS": str(max(1, available_cores() // self.n_workers)),
            **dict.fromkeys(SINGLE_THREADED, "1"),
        }
        self._tasks: queue.SimpleQueue[tuple[Future[Any], Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._processes: dict[int, SpawnProcess] = {}
        self._n_unfinished = 0
        self._is_closed = False
        self._is_killed = False
        self._pids: set[int] = set()

    @property
    def pids(self) -> frozenset[int]:
        return frozenset(self._pids)

    def expect_tasks(self, at_least: int = 1) -> None:
        with self._lock:
            self._grow(min(self.n_workers, at_least))

    def expect_none(self) -> None:
        self.shutdown(wait=False)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        with self._lock:
            if self._is_closed:
                raise RuntimeError("the workers were shut down")
            self._n_unfinished += 1
            self._tasks.put((future, (fn, args, kwargs)))
            self._grow(min(self.n_workers, self._n_unfinished))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                if cancel_futures:
                    self._cancel_waiting()
                for _ in self._threads:
                    self._tasks.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def kill(self) -> None:
        with self._lock:
            self._is_closed = self._is_killed = True
            self._cancel_waiting()
            for _ in self._threads:
                self._tasks.put(None)
            for process in self._processes.values():
                process.kill()
        for thread in self._threads:
            thread.join()

    def _grow(self, n_threads: int) -> None:
        while len(self._threads) < n_threads:
            thread = threading.Thread(target=self._attend, name=f"worker-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _cancel_waiting(self) -> None:
        with contextlib.suppress(queue.Empty):
            while (task := self._tasks.get_nowait()) is not None:
                task[0].cancel()
                task[0].set_running_or_notify_cancel()

    def _attend(self) -> None:
        """Life of one worker, seen from this process: start it, pass it tasks, replace it where it dies."""
        # Ctrl-C reaches the whole process group, but it is this process that answers it: a worker is born with the
        # signal blocked. The tracker is started first, since its start ends with the signal unblocked.
        multiprocessing.resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        worker = None
        with contextlib.suppress(Exception):  # the first task tries again, and tells
            worker = self._start()
        while (task := self._tasks.get()) is not None:
            future, call = task
            if future.set_running_or_notify_cancel():
                try:
                    worker = self._living(worker)
                    self._deliver(future, call, *worker)
                except WorkerDied as death:
                    worker = None
                    future.set_exception(death)
                except Exception as fault:  # noqa: BLE001 - e.g. a task that cannot be sent; told to whoever waits
                    future.set_exception(fault)
            with self._lock:
                self._n_unfinished -= 1
        if worker is not None:
            process, connection = worker
            connection.close()
            process.kill()  # it is idle, perhaps still importing; there is nothing to wait for
            self._reap(process)

    def _living(self, worker: _Worker | None) -> _Worker:
        """`worker`, or a new one in the place of one that died since its last task."""
        if worker is not None and multiprocessing.connection.wait([worker[0].sentinel], timeout=0):
            worker[1].close()
            self._reap(worker[0])
            worker = None
        worker = worker or self._start()
        if worker is None:
            raise WorkerDied(None, None)
        return worker

    def _start(self) -> _Worker | None:
        """A new worker process and the way to talk to it; None when no more may be started."""
        ours, theirs = self._context.Pipe()
        with self._lock:
            if self._is_killed:
                return None
            process = self._context.Process(target=serve, args=(theirs, self._environment), daemon=True)
            process.start()
            assert process.pid is not None
            self._processes[process.pid] = process
            self._pids.add(process.pid)
        theirs.close()
        return process, ours

    def _deliver(self, future: Future[Any], call: Any, process: SpawnProcess, connection: Connection) -> None:
        try:
            connection.send(call)
            multiprocessing.connection.wait([connection, process.sentinel])
            if not connection.poll():
                raise EOFError
            is_result, value = connection.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            connection.close()
            raise WorkerDied(process.pid, self._reap(process)) from None
        if is_result:
            future.set_result(value)
        else:
            future.set_exception(value)

    def _reap(self, process: SpawnProcess) -> int | None:
        """Wait for the end of a worker that has been told to end or has died; its exit code."""
        multiprocessing.connection.wait([process.sentinel])
        with self._lock:
            process.join()
            if process.pid is not None:
                self._processes.pop(process.pid, None)
            return process.exitcode


class DaskWorkers(Workers):
    """Workers of a Dask cluster, which see the same package, spec and data root at the same paths."""

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
        except ModuleNotFoundError:
            raise MisuseError(
                f"{SCHEDULER_VARIABLE}={address} asks for a Dask cluster, but Dask is not installed here. "
                "Install it with: pip install 'distributed>=2026.8'   (or unset BACKTEST_SCHEDULER)"
            ) from None
        try:
            self._client = Client(address, timeout=SCHEDULER_TIMEOUT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError) as fault:
            raise RunError(
                f"no Dask scheduler answers at {address} within {SCHEDULER_TIMEOUT_SECONDS} s ({fault}). "
                f"Start one (dask scheduler), mend {SCHEDULER_VARIABLE}, or unset it to use this machine."
            ) from None
        self.n_workers = sum(self._client.nthreads().values())
        # Not pure: Dask must not take an earlier run's answer for the same call. No retries: a stage that kills its
        # worker would kill the next one.
        self._executor = self._client.get_executor(pure=False, retries=0)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        if not self.n_workers:
            raise RunError("the Dask cluster has no workers. Start some: dask worker <scheduler address> --nthreads 1")
        inner: Future[T] = self._executor.submit(fn, *args, **kwargs)
        return inner

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait=wait and not cancel_futures)
        self._client.close()

    def kill(self) -> None:
        self.shutdown(wait=False)


def _how_ended(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = "unknown"
    cause = {
        "SIGKILL": "; most often the system ran out of memory",
        "SIGSEGV": "; native code crashed",
        "SIGABRT": "; native code gave up",
    }.get(name, "")
    return f"was ended by signal {-exit_code} ({name}){cause}"
