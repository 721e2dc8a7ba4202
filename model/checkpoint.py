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


class CheckpointError(DimeRecError):
    """A model file is missing, damaged, or of another format than this version reads."""


def write_checkpoint(path: Path, model: DimeRec) -> None:
    """Write the model to `path`; a reader sees the old file or the new one, whole."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"format": _FORMAT, "config": model.config.model_dump_json()})


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> DimeRec:
    """Read a model, ready to serve (eval mode).

    Raises CheckpointError, naming the file and the remedy, if it cannot be read or does not fit.
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                found = metadata.get("format", "no format")
                raise CheckpointError(f"{path} is no {_FORMAT} file ({found}); train or publish it anew")
            config = ModelConfig.model_validate_json(metadata.get("config", ""))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, RuntimeError, SafetensorError) as error:  # RuntimeError: torch maps the file
        raise CheckpointError(f"cannot read the model {path}: {error}") from error
    except ValidationError as error:
        fault = first_fault(error.errors(), "config")
        raise CheckpointError(f"{path} holds an unusable model config: {fault}") from error

    model = DimeRec(config).to(device)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path} does not fit its own config: {reason}") from error
    return model.eval()
