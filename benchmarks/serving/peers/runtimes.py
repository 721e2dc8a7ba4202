"""The network of a request in several runtimes: `python runtimes.py --bundles BUNDLES` prints a table a case.

In the environment of `requirements-runtimes.txt`, which has them; `benchmarks.serving.runtimes` makes it.
From histories and starting noise to guidance and draws; search and answers are no part of it. Every runtime
but those of bfloat16 and int8 is asked for float32, and each is compared with the model itself, asked
plainly: the greatest difference of a coordinate, and how many of an interest's 10 nearest items it keeps. All
histories have one length, because most runtimes want shapes that are known beforehand.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import cycle
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.serving.compute import untrained
from bundle.read import read_bundle
from model.batch import HistoryBatch
from model.dimerec import DimeRec
from model.interests import InterestFinder, InterestSettings
from model.network import Network, TorchNetwork, network_of
from model.sampler import by_level, generate, starting_noises

BATCHES = (1, 64)
DRAWS, STEPS = 8, 4
"""As the demo's bundle and the default model are served."""
LENGTH = 25
"""Events of a history: about the mean of those that the other measurements have."""
DISTINCT = 8
"""Different batches, used in turn."""
NEAREST = 10
"""Items by which what an interest keeps is judged."""

Ask = Callable[[Tensor, Tensor], Sequence[Any]]
"""Histories `(batch, length)` and noise `(batch · draws, dim)` → guidance and draws."""


class Plain(nn.Module):
    """All that is computed of a batch, with nothing that hangs on its values."""

    def __init__(self, model: DimeRec) -> None:
        super().__init__()
        self.model = model

    def forward(self, items: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Guidance `(batch, interests, dim)` and draws `(batch · draws, dim)`."""
        guidance = self.model.guide(HistoryBatch(items, torch.ones_like(items, dtype=torch.bool)))
        own = guidance.repeat_interleave(DRAWS, dim=0)
        denoise = by_level(lambda x_t, t: self.model.denoiser(x_t, t, own))
        return guidance, generate(denoise, noise, self.model.cosines, STEPS)


class Case(NamedTuple):
    """A model, and the batches that are asked of it."""

    model: DimeRec
    batches: list[tuple[Tensor, Tensor]]
    table: Tensor

    def kept(self, found: Tensor, wanted: Tensor) -> float:
        """Part of the nearest items of each of `wanted` interests that are those of `found`."""
        pairs = zip(self._nearest(found), self._nearest(wanted), strict=True)
        return sum(len(set(one) & set(other)) for one, other in pairs) / (NEAREST * len(wanted))

    def _nearest(self, interests: Tensor) -> list[list[int]]:
        rows: list[list[int]] = (interests @ self.table.T).topk(NEAREST).indices.tolist()
        return rows


class _Unpadded:
    """`model.packing.Packing` of histories of one length."""

    def __init__(self, mask: Tensor) -> None:
        self._shape = mask.shape

    def pack(self, padded: Tensor) -> Tensor:
        """`(batch, length, dim)` → `(events, dim)`."""
        return padded.flatten(0, 1)

    def unpack(self, packed: Tensor, **_: float) -> Tensor:
        """`(events, dim)` → `(batch, length, dim)`."""
        return packed.view(*self._shape, -1)

    def newest(self, packed: Tensor) -> Tensor:
        """`(events, dim)` → `(batch, dim)`."""
        return self.unpack(packed)[:, -1]


def _no(_: Tensor) -> bool:
    return False


@contextmanager
def traceable() -> Iterator[None]:
    """The model in operators that every exporter knows, and in shapes that hang on no value."""
    with ExitStack() as stack:
        stack.enter_context(patch("model.linear._suits_onednn", _no))
        for module in ("guidance", "transformer"):
            stack.enter_context(patch(f"model.{module}.Packing", _Unpadded))
        yield


def torch_alone(case: Case, _: Path) -> Ask:
    """The model's modules and its frozen denoiser."""
    return _found_by(TorchNetwork(case.model), case.model)


def served(case: Case, _: Path) -> Ask:
    """As the service computes: ONNX Runtime, with graphs that know no shape beforehand."""
    return _found_by(network_of(case.model), case.model)


def bfloat16(case: Case, _: Path) -> Ask:
    """The model's modules, weights and activations of half the width."""
    model = DimeRec(case.model.config).to(torch.bfloat16).eval()
    model.load_state_dict(case.model.state_dict())
    return _found_by(TorchNetwork(model), model)


def compiled(case: Case, _: Path) -> Ask:
    """`torch.compile`, weights frozen."""
    torch._dynamo.reset()
    network = torch.compile(Plain(case.model), fullgraph=True, options={"freezing": True})

    def ask(items: Tensor, noise: Tensor) -> Sequence[Any]:
        found: Sequence[Any] = network(items, noise)
        return found

    return ask


def ahead_of_time(case: Case, work: Path) -> Ask:
    """AOTInductor: compiled to a library, which is loaded."""
    exported = torch.export.export(Plain(case.model), case.batches[0])
    package = torch._inductor.aoti_compile_and_package(
        exported, package_path=str(work / "network.pt2"), inductor_configs={"freezing": True}
    )
    loaded: Ask = torch._inductor.aoti_load_package(package)
    return loaded


def onnxruntime(case: Case, work: Path) -> Ask:
    """ONNX Runtime."""
    return _onnx_session(_exported(case, work))


def int8(case: Case, work: Path) -> Ask:
    """ONNX Runtime with weights of 8 bits, activations quantised as they come."""
    from onnxruntime.quantization import quantize_dynamic

    quantised = work / "int8.onnx"
    quantize_dynamic(_exported(case, work), quantised)
    return _onnx_session(quantised)


def openvino(case: Case, work: Path) -> Ask:
    """OpenVINO."""
    from openvino import Core

    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = Core().compile_model(_exported(case, work), "CPU", settings).create_infer_request()

    def ask(items: Tensor, noise: Tensor) -> Sequence[Any]:
        found = request.infer({"items": items.numpy(), "noise": noise.numpy()}, share_inputs=True)
        return [found[index] for index in range(2)]

    return ask


RUNTIMES: dict[str, Callable[[Case, Path], Ask]] = {
    "torch": torch_alone,
    "as served": served,
    "torch.compile": compiled,
    "AOTInductor": ahead_of_time,
    "ONNX Runtime": onnxruntime,
    "OpenVINO": openvino,
    "bfloat16": bfloat16,
    "int8": int8,
}


TRACED = ("torch.compile", "AOTInductor", "ONNX Runtime", "OpenVINO", "int8")
"""Made of `Plain`; the others have their own way."""


def _found_by(network: Network, model: DimeRec) -> Ask:
    finder = InterestFinder(model, network)
    settings = InterestSettings(DRAWS, STEPS, "both", 0.5)

    def ask(items: Tensor, noise: Tensor) -> Sequence[Any]:
        history = HistoryBatch(items, torch.ones_like(items, dtype=torch.bool))
        made = noise.view(len(items), DRAWS, -1)
        with patch("model.interests.starting_noises", lambda *_: made):
            found = finder.find(history, [settings] * len(items), [0] * len(items))
        both = torch.from_numpy(np.stack([one.vectors for one in found]))
        return [both[:, DRAWS:], both[:, :DRAWS].flatten(0, 1)]

    return ask


def _exported(case: Case, work: Path) -> Path:
    path = work / "network.onnx"
    if not path.exists():
        torch.onnx.export(
            Plain(case.model),
            case.batches[0],
            path,
            dynamo=True,
            verbose=False,
            input_names=["items", "noise"],
            output_names=["guidance", "draws"],
        )
    return path


def _onnx_session(path: Path) -> Ask:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def ask(items: Tensor, noise: Tensor) -> Sequence[Any]:
        found: Sequence[Any] = session.run(None, {"items": items.numpy(), "noise": noise.numpy()})
        return found

    return ask


def cases(models: Mapping[str, DimeRec]) -> Iterator[tuple[str, Case]]:
    """Every model with batches of every size."""
    for name, model in models.items():
        generator = np.random.default_rng(0)
        for batch in BATCHES:
            made = []
            for number in range(DISTINCT):
                items = torch.from_numpy(generator.integers(1, model.config.items + 1, (batch, LENGTH)))
                seeds = range(number * batch, (number + 1) * batch)
                made.append((items, starting_noises(seeds, DRAWS, model.config.dim).flatten(0, 1)))
            yield f"{name}, batch of {batch}", Case(model, made, model.item_vectors().detach())


def measured(case: Case, names: Sequence[str], rounds: int, seconds: float) -> list[list[str]]:
    """A row for each runtime."""
    batch = len(case.batches[0][0])
    with traceable():
        wanted = [
            torch.cat([part.flatten(0, -2) for part in Plain(case.model)(*one)]) for one in case.batches
        ]
    rows, asks = {}, {}
    for name in names:
        with TemporaryDirectory() as work, ExitStack() as stack:
            if name in TRACED:
                stack.enter_context(traceable())
            started = time.perf_counter()
            ask = asks[name] = RUNTIMES[name](case, Path(work))
            ask(*case.batches[0])
            made_s = time.perf_counter() - started
            found = [
                torch.cat([torch.as_tensor(part).float().flatten(0, -2) for part in ask(*one)])
                for one in case.batches
            ]
        pairs = list(zip(found, wanted, strict=True))
        worst = max(float((one - other).abs().max()) for one, other in pairs)
        kept = sum(case.kept(one, other) for one, other in pairs) / len(pairs)
        rows[name] = [f"{worst:.0e}", f"{kept:.4f}", f"{made_s:.1f}"]
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            with traceable() if name in TRACED else nullcontext():  # else what was compiled would be anew
                times[name].append(_timed(asks[name], case.batches, seconds) / batch)
    first = times[names[0]]
    return [
        [
            name,
            f"{median(found):.0f} ({min(found):.0f}–{max(found):.0f})",
            f"{median(a / b for a, b in zip(found, first, strict=True)):.2f}",
            *rows[name],
        ]
        for name, found in times.items()
    ]


def _timed(ask: Ask, batches: Sequence[tuple[Tensor, Tensor]], seconds: float) -> float:
    """Microseconds of the thread's processor, of a batch: the median."""
    source, times = cycle(batches), list[float]()
    until = time.perf_counter() + seconds
    while len(times) < DISTINCT or time.perf_counter() < until:
        one = next(source)
        started = time.thread_time()
        ask(*one)
        times.append(1e6 * (time.thread_time() - started))
    return median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The network of a request in other runtimes.")
    parser.add_argument("--bundles", type=Path, default=Path(".demo/bundles"))
    parser.add_argument("--only", help=f"of {', '.join(RUNTIMES)}; separated by commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="of one runtime in one round")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = list(RUNTIMES) if options.only is None else [next(iter(RUNTIMES)), *options.only.split(",")]
    head = ["µs of CPU a request", "of torch", "greatest difference", f"nearest {NEAREST} kept", "made, s"]
    with torch.inference_mode(), untrained(options.bundles) as default:
        found = {"the demo's model": options.bundles, "the default model": default}
        models = {name: read_bundle(bundles).model.eval() for name, bundles in found.items()}
        for title, case in cases(models):
            rows = [[title, *head], ["---"] * (len(head) + 1)]
            rows += measured(case, names, options.rounds, options.seconds)
            print("\n".join(f"| {' | '.join(row)} |" for row in rows), flush=True)
            print(flush=True)


if __name__ == "__main__":
    main()
