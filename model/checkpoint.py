"""A model on disk: safetensors with the configuration in its header. No pickle, nothing executed."""

from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from files.atomic import replacing
from files.errors import DimeRecError, first_fault
from model.config import ModelConfig
from model.dimerec import DimeRec

_FORMAT = "dimerec-model-3"
_TABLE = "items.table.weight"


class CheckpointError(DimeRecError):
    """A model file is missing, damaged, or of another format than this version reads."""


def write_checkpoint(path: Path, model: DimeRec) -> None:
    """Write the model to `path`; a reader sees the old file or the new one, whole.

    Raises CheckpointError when there is no room for it.
    """
    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    with replacing(path) as temporary:
        try:
            metadata = {"format": _FORMAT, "config": model.config.model_dump_json()}
            save_file(tensors, temporary, metadata=metadata)
        except SafetensorError as error:  # in place of an OSError
            raise CheckpointError(f"cannot write the model {path}: {error}; make room there") from error


def read_checkpoint(path: Path, device: torch.device | str = "cpu", descriptor: int | None = None) -> DimeRec:
    """Read a model, ready to serve (eval mode); on the CPU its item table stays in the file, which is mapped.

    `descriptor`: of the open file, where the caller has verified what it holds.
    Raises CheckpointError, naming the file and the remedy, if it cannot be read or does not fit.
    """
    try:
        opened = path if descriptor is None else f"/dev/fd/{descriptor}"
        with safe_open(opened, framework="pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                found = metadata.get("format", "no format")
                raise CheckpointError(f"{path} is no {_FORMAT} file ({found}); train or publish it anew")
            config = ModelConfig.model_validate_json(metadata.get("config", ""))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            # All but the table are small, and where the file has them, not aligned as computing wants them.
            tensors = {name: part if name == _TABLE else part.clone() for name, part in tensors.items()}
    except (OSError, RuntimeError, SafetensorError) as error:  # RuntimeError: torch maps the file
        raise CheckpointError(f"cannot read the model {path}: {error}") from error
    except ValidationError as error:
        fault = first_fault(error.errors(), "config")
        raise CheckpointError(f"{path} holds an unusable model config: {fault}") from error

    table = tensors.get(_TABLE)
    if table is not None and table.shape != (config.items + 1, config.dim):
        raise CheckpointError(
            f"{path} does not fit its own config: its table is {tuple(table.shape)}; train or publish it anew"
        )
    model = DimeRec(config, table)
    try:
        model.load_state_dict(tensors, assign=True)  # a copy would bring all of the table into memory
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{path} does not fit its own config: {reason}; train or publish it anew"
        ) from error
    return model.to(device).eval()
