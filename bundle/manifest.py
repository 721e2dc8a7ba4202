"""The manifest of a bundle, and the names of its files and versions.

```
<root>/CURRENT                      the version in service
<root>/<version>/manifest.json      a Manifest
<root>/<version>/model.safetensors
<root>/<version>/items.arrow        index.item_columns
<root>/<version>/vectors.npy        float32 (items, dim), unit vectors; line i is row i + 1
<root>/<version>/index.faiss        what FAISS adds to the vectors
<root>/<version>/content.safetensors  where it has one: bundle.content_map
<root>/<version>/counts.safetensors   where it has them: bundle.counts
```
"""

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    Field,
    FiniteFloat,
    ValidationError,
    model_validator,
)

from bundle.errors import BundleDamagedError, BundleIncompatibleError, BundleRequestError
from bundle.facts import ContentFacts, CountsFacts, DrawsFacts, IndexFacts, NoveltyFacts, Part, Standing
from files.errors import first_fault
from index.merging import DEFAULT_TEMPERATURE
from index.query import MAX_REPEAT_WEIGHT
from model.config import ModelConfig
from model.interests import InterestMode

FORMAT_VERSION = 3
"""Counted up by a change that older readers cannot read."""
READABLE = (2, FORMAT_VERSION)
"""Formats that are read: 2 is 3 without attributes of items."""
MAX_DRAWS = 32
"""Interests drawn for one request at most, whoever asks."""

CURRENT_FILE = "CURRENT"
MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.safetensors"
ITEMS_FILE = "items.arrow"
VECTORS_FILE = "vectors.npy"
INDEX_FILE = "index.faiss"
CONTENT_MAP_FILE = "content.safetensors"
COUNTS_FILE = "counts.safetensors"
CONTENT_FILES = (MODEL_FILE, ITEMS_FILE, VECTORS_FILE, INDEX_FILE)

_VERSION = re.compile(r"[0-9]{8}T[0-9]{6}\.[0-9]{6}Z-[0-9a-f]{8}")


class FileEntry(Part):
    """One file of a bundle: SHA-256 (hexadecimal) and size in bytes."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(gt=0)


class ServingDefaults(Part):
    """Settings of a request that names none of its own, as chosen on validation data."""

    steps: int = Field(4, ge=1, le=2000, description="denoising steps; at most the model's timesteps")
    draws: int = Field(4, ge=1, le=MAX_DRAWS, description="interests drawn per user")
    interest_mode: InterestMode = Field(
        "both", description="search with the draws, with the guidance vectors, or with both"
    )
    guidance_weight: float = Field(
        0.5,
        ge=0,
        le=1,
        description="both: what the guidance counts in the mean of softmaxes; the draws count the rest",
    )
    merge: Literal["mean", "max"] = Field(
        "mean", description="score of an item: mean of the interests' softmaxes, or its best cosine"
    )
    diversity: float = Field(0.0, ge=0, le=1, description="weight of category overlap when re-ranking")
    fresh: float = Field(
        0.0, ge=0, le=1, description="part of an answer that is of items new or changed since the bundle"
    )
    temperature: float = Field(
        DEFAULT_TEMPERATURE,
        ge=0.001,
        le=1000,
        description="τ of the softmax over hits when merging; unset: in training the model's",
    )


class Manifest(Part):
    """Everything known about one bundle."""

    format_version: Literal[2, 3] = 3
    version: str = Field(pattern=f"^{_VERSION.pattern}$")
    created: Annotated[
        AwareDatetime, Field(ge=datetime(2020, 1, 1, tzinfo=UTC), lt=datetime(9999, 1, 1, tzinfo=UTC))
    ]
    """A date that has a name: beyond these bounds another zone's may have no year."""
    model: ModelConfig
    serving: ServingDefaults
    metrics: dict[str, FiniteFloat]
    standing: Standing | None = None
    """None where the split holds no test event."""
    index: IndexFacts | None = None
    """None where there was nothing to measure it on."""
    content: ContentFacts | None = None
    """None where no content was given."""
    draws: DrawsFacts | None = None
    """None where the interest mode was given, and nothing was to be decided."""
    counts: CountsFacts | None = None
    """None where nothing was counted."""
    novelty: NoveltyFacts | None = None
    """None where requests cannot ask for it."""
    split: Annotated[str, Field(max_length=64)] | None = None
    """Name of the split that the model was trained on: what it may be evaluated with."""
    repeat_weight: float = Field(1.0, ge=1 / MAX_REPEAT_WEIGHT, le=MAX_REPEAT_WEIGHT)
    """Factor on the score of a seen item where such items may be answered: as often as users come back."""
    data_fingerprint: Annotated[str, Field(min_length=1, max_length=256)]
    source_revision: Annotated[str, Field(max_length=256)] | None = None
    catalogue_sequence: int = Field(0, ge=0, lt=2**53)
    """Of the last change of the catalogue in service that its data obeys; 0: none was known."""
    refit: bool = False
    """True where the model was trained once more, on all events: those that were held out, too. `metrics`,
    `standing`, `content`, `draws`, `counts`, `novelty` and `repeat_weight` are of the model before that."""
    files: dict[str, FileEntry]

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.serving.steps > self.model.timesteps:
            raise ValueError(f"serving.steps is {self.serving.steps}, the model has {self.model.timesteps}")
        if self.serving.merge == "max" and self.repeat_weight != 1:
            raise ValueError("repeat_weight must be 1 where serving.merge is max")
        if self.serving.merge == "max" and self.counts is not None and self.counts.used:
            raise ValueError("counts.weight must be 0 where serving.merge is max")
        if self.serving.merge == "max" and self.novelty is not None:
            raise ValueError("novelty must be left out where serving.merge is max")
        names = files_of(self.content, self.counts)
        if set(self.files) != set(names):
            raise ValueError(f"files must be {', '.join(names)}, not {', '.join(sorted(self.files))}")
        return self


def files_of(content: ContentFacts | None, counts: CountsFacts | None) -> tuple[str, ...]:
    """Names of a bundle's files beside the manifest."""
    has_map = content is not None and content.used
    has_counts = counts is not None and counts.used
    return (
        *CONTENT_FILES,
        *([CONTENT_MAP_FILE] if has_map else []),
        *([COUNTS_FILE] if has_counts else []),
    )


def new_manifest(facts: dict[str, Any]) -> Manifest:
    """The manifest of `facts` (its fields but format, version and time) as of now.

    Raises BundleIncompatibleError, naming the field, when they are out of bounds or do not fit together.
    """
    content = {"format_version": FORMAT_VERSION, "created": datetime.now(UTC), **facts}
    # The name is made from what will be read back, so the content is brought into that form first.
    unnamed = "00000000T000000.000000Z-00000000"
    draft = _validated({**content, "version": unnamed}, "the bundle", BundleIncompatibleError)
    version = _version_name(json.loads(draft.model_dump_json()), draft.created)
    return draft.model_copy(update={"version": version})


def read_manifest(text: bytes, version: str) -> Manifest:
    """The manifest of the bundle `version` from the `text` of its file.

    Raises BundleDamagedError when it was altered or is another bundle's, BundleIncompatibleError when it is
    of another format.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleDamagedError(
            f"{version}/{MANIFEST_FILE} is not JSON: publish the bundle again"
        ) from error
    if not isinstance(content, dict):
        raise BundleDamagedError(f"{version}/{MANIFEST_FILE} is not a JSON object: publish the bundle again")
    found = content.get("format_version")
    if found not in READABLE:
        readable = " and ".join(map(str, READABLE))
        raise BundleIncompatibleError(
            f"{version} has the bundle format {found!r:.40}, this program reads {readable}: "
            "publish it again with this program, or run the program that published it"
        )
    manifest = _validated(content, f"{version}/{MANIFEST_FILE}", BundleDamagedError)
    if not version == manifest.version == _version_name(content, manifest.created):
        raise BundleDamagedError(
            f"{version}/{MANIFEST_FILE} was altered or is another bundle's: publish it again"
        )
    return manifest


def checked_version(name: str) -> str:
    """`name`, when it is a version's; only such names ever become part of a path."""
    if not _VERSION.fullmatch(name):
        raise BundleRequestError(f"{name!r:.80} is no bundle version: `dimerec bundles list` shows them")
    return name


def is_version(name: str) -> bool:
    """True where `name` is formed as a version is."""
    return _VERSION.fullmatch(name) is not None


def _version_name(content: dict[str, Any], created: datetime) -> str:
    """The name that a manifest's JSON `content` gives its bundle: time and digest.

    The digest is of the JSON itself and not of the fields as this program knows them, so that a field which
    a later version adds, with a default, does not rename the bundles before it.
    """
    nameless = {key: value for key, value in content.items() if key != "version"}
    digest = hashlib.sha256(json.dumps(nameless, sort_keys=True).encode()).hexdigest()
    return f"{created.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{digest[:8]}"


def _validated(content: dict[str, Any], name: str, error_kind: type[Exception]) -> Manifest:
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise error_kind(f"{name} has an unusable {first_fault(error.errors(), 'manifest')}") from error
