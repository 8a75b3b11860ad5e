"""Data parallel training on several devices and hosts: who takes part, and who is gone.

JAX's distributed runtime and `keras.distribution.DataParallel` do the computing: every device has
all variables and its rows of each batch, and sums over the batch go over all devices, those of
batch normalization too. This file holds what they leave open: that all hosts run the same, what
one host makes for all, and that a host which dies ends the run on all of them, with its name. For
that every host keeps a connection to host 0, over which it is known to be alive.

With TensorFlow there is one host, and `tf.distribute.MirroredStrategy` computes on its devices.

A host is a process here: several may run on one machine, each with its own devices.
"""

import atexit
import contextlib
import hashlib
import json
import os
import pathlib
import sys
import threading
import time

import keras

from tf_lcnn import checks, programs
from tf_lcnn.graph.trace import sublayers
from tf_lcnn.training import connections

# How long a host whose computation broke off waits to be told which other one died.
_GRACE = 20.0

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
_LIBRARIES = ("keras", "jax", "tensorflow", "numpy")


class Hosts:
    """The hosts of a run; `joined` makes one. This one by itself is a run on one device.

    Attributes:
        index, count: this host's number, from 0, and how many there are. Host 0 writes files.
        devices: of all hosts together.
    """

    index, count, devices = 0, 1, 1

    @property
    def first(self):
        """Whether this is the host that writes files, and tells."""
        return self.index == 0

    @property
    def share(self):
        """(index, count, devices), which `data.examples` deals out the rows of a batch by."""
        return self.index, self.count, self.devices

    def each(self, batches):
        """Batches of which every device gets all rows, for examples that cannot be shared out.

        Means over all rows stay what they are.

        Args:
            batches: tf.data.Dataset of tuples of tensors.
        """
        own = self.devices // self.count
        if self.devices == 1:
            return batches
        import tensorflow as tf

        return batches.map(lambda *parts: tuple(tf.concat([x] * own, 0) for x in parts))

    def check_batch(self, batch_size, parts, examples):
        """Raises ValueError unless all devices get equally many rows of every batch.

        Args:
            batch_size: examples per step of the optimizer.
            parts: each batch comes in this many equal parts.
            examples: of the training split in an epoch.
        """
        if self.devices > examples:
            raise ValueError(
                f"There are {self.devices} devices for {examples} training examples: take fewer."
            )
        if batch_size % (parts * self.devices):
            what = f"--batch_size={batch_size}"
            what += f" in --break_batch={parts} parts" if parts > 1 else ""
            near = max(1, round(batch_size / (parts * self.devices))) * parts * self.devices
            raise ValueError(
                f"{what} does not go over {self.devices} devices evenly: {near} would."
            )

    def agree(self, facts):
        """Raises ValueError, on all hosts, unless they state the same; it names who does not.

        Args:
            facts: what is stated -> a string.
        """

    def handed_out(self, make):
        """What `make` returns on host 0, a dict name -> bytes, on every host."""
        return make()

    def spread(self):
        """A context in which models are made for all devices; it may last until `leave`."""
        return contextlib.nullcontext()

    def callbacks(self):
        """What `fit` needs for a model of all devices, after its other callbacks."""
        return []

    def leave(self):
        """Parts with the others: from here on models are of this host alone, and may differ."""

    def fail(self, error):
        """Ends the run on all hosts, after an exception on this one."""


@contextlib.contextmanager
def joined(distribute, coordinator=None, processes=None, process=None, timeout=300):
    """The Hosts of this run, to train with.

    An exception in this context ends the run on all hosts.

    Args:
        distribute: whether to train on several devices at all.
        coordinator: HOST:PORT where host 0 waits for the others. Without it JAX finds out on
            SLURM, GKE and TPU pods; elsewhere, and with TensorFlow, the run has one host, with all
            its devices.
        processes: how many hosts there are, with `coordinator`.
        process: the number of this one, from 0.
        timeout: seconds to wait for the others.

    Raises:
        ValueError: arguments that do not go together, or that this backend has no use for.
    """
    given = [x is not None for x in (coordinator, processes, process)]
    if any(given) and not (all(given) and distribute):
        raise ValueError("--coordinator, --processes and --process go together, with --distribute.")
    if not distribute:
        yield Hosts()
        return
    if coordinator is not None:
        _check_place(coordinator, processes, process)
    if keras.backend.backend() == "jax":
        team = _JaxHosts(coordinator, processes, process, timeout)
    elif coordinator is not None:
        raise ValueError(
            f"--coordinator: with {keras.backend.backend()} there is one host, with all its "
            "devices; several need KERAS_BACKEND=jax."
        )
    else:
        team = _MirroredHost()
    with contextlib.ExitStack() as stack:
        if not team.first:
            # Host 0 tells for all.
            nothing = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(nothing))
        print(f"Data parallel: {team.devices} devices of {team.count} hosts", flush=True)
        try:
            yield team
        except BaseException as error:
            team.fail(error)
            raise


def _check_place(coordinator, processes, process):
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"--coordinator={coordinator!r}: HOST:PORT works, like node1:7890.")
    checks.whole_number(processes, "--processes")
    checks.whole_number(process, "--process", least=0, most=processes - 1)


class _MirroredHost(Hosts):
    """One host, with TensorFlow."""

    def __init__(self):
        import tensorflow as tf

        devices = next(filter(None, map(tf.config.list_logical_devices, ("GPU", "CPU"))))
        self.devices = len(devices)
        self._strategy = None
        if self.devices > 1:
            self._strategy = tf.distribute.MirroredStrategy([device.name for device in devices])

    def check_batch(self, batch_size, parts, examples):
        super().check_batch(batch_size, parts, examples)
        if parts > 1 and self._strategy is not None:
            raise ValueError(
                f"--break_batch={parts}: with TensorFlow Keras sums parts of a batch on one device "
                f"only, and there are {self.devices}, which have a part of it each already. Leave "
                "it out, or take KERAS_BACKEND=jax."
            )

    def spread(self):
        return super().spread() if self._strategy is None else self._strategy.scope()

    def callbacks(self):
        return [] if self._strategy is None else [_Synchronized()]


class _Synchronized(keras.callbacks.Callback):
    """Batch normalization takes its statistics over all devices of a strategy.

    During steps alone: JAX loads no layer that was saved so.
    """

    def __init__(self):
        super().__init__()
        self._layers = []

    def on_train_begin(self, logs=None):
        kind = keras.layers.BatchNormalization
        self._layers = [layer for layer in sublayers(self.model) if isinstance(layer, kind)]

    def on_train_batch_begin(self, batch, logs=None):
        self._synchronize(True)

    def on_train_batch_end(self, batch, logs=None):
        self._synchronize(False)

    def _synchronize(self, on):
        for layer in self._layers:
            layer.synchronized = on


class _JaxHosts(Hosts):
    def __init__(self, coordinator, processes, process, timeout):
        import jax

        _connect_jax(jax, coordinator, processes, process, timeout)
        self.index, self.count = jax.process_index(), jax.process_count()
        self.devices = jax.device_count()
        self._error = jax.errors.JaxRuntimeError
        self._left = False
        if jax.local_device_count() * self.count != self.devices:
            raise ValueError(
                f"Host {self.index} has {jax.local_device_count()} of the {self.devices} devices "
                f"of {self.count} hosts: all hosts need equally many."
            )
        self._lines = (
            connections.Connections(self.index, self.count, coordinator) if self.count > 1 else None
        )

    def agree(self, facts):
        if self._lines is None:
            return
        stated = self._lines.gathered(json.dumps(facts).encode())
        if self.first:
            for number, other in enumerate(map(json.loads, stated)):
                for what, value in facts.items():
                    if other.get(what) != value:
                        raise ValueError(
                            f"{self._lines.named(number)} has another {what} than "
                            f"{self._lines.named(0)}, {other.get(what)} and not {value}: all hosts "
                            "need the same."
                        )
        self._lines.spread(b"agreed")

    def handed_out(self, make):
        if self._lines is None:
            return make()
        files = make() if self.first else {}
        names = json.loads(self._lines.spread(json.dumps(list(files)).encode()))
        return {name: self._lines.spread(files.get(name)) for name in names}

    def spread(self):
        # Each host makes its own rows.
        parallel = keras.distribution.DataParallel(auto_shard_dataset=False)
        keras.distribution.set_distribution(parallel)
        return super().spread()

    def leave(self):
        import jax

        keras.distribution.set_distribution(None)
        self._left = True
        if self._lines is not None:
            self._lines.leave()
            jax.distributed.shutdown()

    def fail(self, error):
        if self._lines is None or self._left:
            return
        if isinstance(error, self._error):
            # Most likely another host is gone, and this process ends as soon as that is known.
            time.sleep(_GRACE)
        line = checks.first_line(error)
        if not isinstance(error, programs.ERRORS):
            line = f"{type(error).__name__}: {line}"
        self._lines.end(f"{self._lines.named(self.index)} stopped: {line}")
        # JAX would wait for the others; this runs before its own farewell.
        atexit.register(connections.leave_at_once)


def _connect_jax(jax, coordinator, processes, process, timeout):
    """Starts JAX's distributed runtime; where nothing says that there are other hosts, none."""

    def give_up():
        where = f"at {coordinator}" if coordinator else "where the cluster says"
        connections.die(
            f"After {timeout} s not all hosts have met {where}: is host 0 running there, "
            "and are all of them started? --timeout is how long to wait."
        )

    with contextlib.suppress(AttributeError):
        # It would take a SIGTERM for a notice, and go on.
        jax.config.update("jax_enable_preemption_service", False)
    # After its own time JAX ends the process, with a stack trace.
    timer = threading.Timer(timeout, give_up)
    timer.daemon = True
    timer.start()
    try:
        jax.distributed.initialize(
            *(coordinator, processes, process), initialization_timeout=timeout + 60
        )
    except ValueError:
        if coordinator is not None or "SLURM_STEP_NODELIST" in os.environ:
            raise
    finally:
        timer.cancel()


def code():
    """What runs here, as a short string: a digest of program and package, libraries' versions."""
    digest = hashlib.sha256()
    program = pathlib.Path(sys.argv[0])
    for path in [*([program] if program.is_file() else []), *sorted(_PACKAGE.rglob("*.py"))]:
        digest.update(path.name.encode() + path.read_bytes())
    used = [name for name in _LIBRARIES if name in sys.modules]
    versions = [f"{name} {sys.modules[name].__version__}" for name in used]
    return ", ".join([f"tf_lcnn {digest.hexdigest()[:12]}", *versions])
