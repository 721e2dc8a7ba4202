"""The configuration of a DimeRec model; saved inside every checkpoint and bundle.

Every value is concrete, and all are written: a default that changes here changes no model that exists.
"""

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

GuidanceKind = Literal[
    "contextual", "recency_attentive", "self_attentive", "dynamic_routing", "sasrec", "mlp", "recent"
]
ProcessKind = Literal["geodesic", "gaussian", "euclidean", "none"]
DenoiserKind = Literal["posterior", "mlp"]


def typical_first_cosine(dim: int) -> float:
    """c_1 that leaves x_1 about .6 nats of x_0 (`model.schedule`)."""
    return min(0.8 / math.sqrt(dim), 0.9)


class Architecture(BaseModel):
    """Everything about a model but the catalogue it is for; frozen, unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(128, ge=4, le=2048, description="width d of item and interest vectors")
    max_length: int = Field(50, ge=1, le=1000, description="newest events the model reads")

    guidance: GuidanceKind = Field("contextual", description="guidance extraction module (paper §4.2)")
    guidance_vectors: int = Field(2, ge=1, le=64, description="K guidance vectors per user")
    next_vectors: int = Field(
        1,
        ge=1,
        le=64,
        description="contextual: of these, vectors that a gate mixes for the next item; the other K - 1 are"
        " for later ones",
    )
    routing_iterations: int = Field(3, ge=1, le=10, description="dynamic_routing: iterations")
    blocks: int = Field(
        2,
        ge=1,
        le=12,
        description="contextual, sasrec: transformer blocks; unset: 2, in training 4 where the log is dense",
    )
    heads: int = Field(2, ge=1, le=16, description="contextual, sasrec: attention heads; divides dim")
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="dropout in guidance and denoiser; unset: .5 … .2 in training, the less the more events"
        " the log has per item",
    )

    item_dropout: float = Field(
        0.15, ge=0, lt=1, description="contextual: share of events hidden from later ones in training"
    )

    process: ProcessKind = Field(
        "geodesic",
        description="forward noise process (paper §4.3); none: x_t = 0, a point predictor (ablation)",
    )
    timesteps: int = Field(16, ge=2, le=2000, description="T, noise levels known to the denoiser")
    first_cosine: float = Field(
        default_factory=lambda fields: typical_first_cosine(fields["dim"]),
        gt=0,
        lt=1,
        description="c_1, mean cosine of x_1 and x_0 (it is 0 at T); unset: 0.8/√dim",
    )
    denoiser: DenoiserKind = Field(
        "posterior", description="Bayes' rule with learned weights, or the paper's perceptron"
    )
    hidden: int = Field(256, ge=8, le=8192, description="mlp: hidden width of the denoiser")
    layers: int = Field(2, ge=1, le=16, description="mlp: residual layers of the denoiser")

    temperature: float = Field(
        0.05,
        ge=0.001,
        le=10,
        description="τ of every softmax over items; unset: .05, in training .1 where the log is small",
    )
    negatives: int = Field(1024, ge=1, description="shared negatives per step; ≥ items: the full softmax")
    later_weight: float = Field(
        1.0, ge=0, description="ω of L_gem on an item after the next, chosen at random, the nearest likeliest"
    )
    reconstruction_weight: float = Field(0.3, ge=0, description="λ of L_recon")
    softmax_weight: float = Field(1.0, ge=0, description="μ of L_ssm")
    project_reconstruction: bool = Field(
        False, description="ablation: ‖x0 − x̂0‖² instead of ‖x0 − m‖², and x̂0 instead of m in the reverse"
    )
    detach_target: bool = Field(True, description="no gradient into x0 through L_recon and the noise")

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> Self:
        if self.guidance in ("contextual", "sasrec") and self.dim % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide dim ({self.dim})")
        return self

    @model_validator(mode="after")
    def _mixture_has_a_gate(self) -> Self:
        if self.next_vectors > 1 and (self.guidance, self.denoiser) != ("contextual", "posterior"):
            raise ValueError(
                f"next_vectors ({self.next_vectors}) needs guidance contextual and denoiser posterior,"
                f" not {self.guidance} and {self.denoiser}; set it to 1, or recipe to large"
            )
        return self

    @property
    def guidance_count(self) -> int:
        """Rows of GEM's output: K and those mixed with one of them; 1 for `sasrec`, its last state."""
        return 1 if self.guidance == "sasrec" else self.guidance_vectors + self.next_vectors - 1


class ModelConfig(Architecture):
    """Architecture and training objective of one model, with its catalogue size."""

    items: int = Field(ge=1, le=2**31 - 2, description="catalogue size n; rows 1…n, row 0 is padding")
