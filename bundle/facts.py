"""Parts of a manifest that say what was measured when its bundle was published."""

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from index.tuning import IndexKind


class Part(BaseModel):
    """Frozen, and nothing else in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Standing(Part):
    """The model's ranking of test events beside simple recommenders, when it was published."""

    targets: int = Field(ge=1)
    """Test events that were predicted, every item a candidate, items of the history removed."""
    metrics: dict[str, dict[str, FiniteFloat]]
    """`hr@10` and `ndcg@10` of each recommender by name: `DimeRec`, `ItemKNN`, `Popularity`."""


class IndexFacts(Part):
    """The index of the items, measured when it was built on interests of held-out users."""

    kind: IndexKind
    effort: int | None = Field(ge=1)
    """Cells looked into (ivf), candidates looked at (hnsw); None: all items (flat)."""
    target: float = Field(gt=0, le=1)
    """Recall that was asked for."""
    recall: float = Field(ge=0, le=1)
    """Part of the exact nearest 100 items that it finds."""
    queries: int = Field(ge=1)
    """Interests that it was measured on."""
    ms: float = Field(ge=0)
    """Time of one, in batches of 64, on the machine that published."""


class ContentFacts(Part):
    """The content map, measured on items that it was not fitted on when it was made."""

    inputs: int = Field(ge=1)
    """Numbers of a content vector."""
    items: int = Field(ge=1)
    """Items that it was fitted on in the end."""
    ridge: FiniteFloat = Field(gt=0)
    """λ of the squared error + λ · the squared weights."""
    measured: int = Field(ge=1)
    """Items that it was measured on."""
    cosine: dict[str, FiniteFloat]
    """Mean cosine to the learned vector of the map's, `content`, of the mean of the item's `categories` and
    of another item's, `random`."""
    lead: tuple[FiniteFloat, FiniteFloat]
    """95 % interval of how much nearer `content` is than `categories`."""
    watches: int = Field(ge=0)
    """Held-out events of such items, for whose users they were ranked."""
    ndcg: dict[str, FiniteFloat]
    """NDCG@50 of these, each item where `content`, `categories` or `random` say, the others as learned."""
    ndcg_lead: tuple[FiniteFloat, FiniteFloat]
    """95 % interval of how far `content` is ahead of `categories` in it."""

    @property
    def used(self) -> bool:
        """True where the map leads beyond chance in both ways: only then a bundle has it."""
        return self.lead[0] > 0 and self.ndcg_lead[0] > 0


class _Gain(Part):
    """Something beside the guidance, and its part in the ranking of validation events, seen items removed."""

    targets: int = Field(ge=1)
    """Validation events that it was chosen on."""
    before: dict[str, FiniteFloat]
    after: dict[str, FiniteFloat]
    """`ndcg@10` and `hr@50` without it, and with it at the best that was tried."""


class DrawsFacts(_Gain):
    """The draws, beside guidance alone."""

    lead: tuple[FiniteFloat, FiniteFloat]
    """95 % interval of how much greater NDCG@10 is."""

    @property
    def used(self) -> bool:
        """True where draws have a part in the answers to requests that name no interest mode."""
        return self.lead[0] > 0


class CountsFacts(_Gain):
    """The counts, beside the model."""

    followers: int = Field(ge=1)
    """Of each item, at most."""
    decay: float = Field(gt=0, le=1)
    """Weight of an event of a history relative to the next newer one."""
    weight: float = Field(ge=0, lt=1)
    """Part of the counts in the mean of the interests; 0: the bundle has none."""
    lead: tuple[FiniteFloat, FiniteFloat] | None
    """95 % interval of how much greater NDCG@10 is; only above 0 is there a weight. None: HR@50 fell."""

    @property
    def used(self) -> bool:
        """True where counting has a part in the answers: only then a bundle has the counts."""
        return self.weight > 0


class NoveltyFacts(Part):
    """The most novelty that a request can ask for, and its cost on validation events, seen items removed."""

    power: float = Field(gt=0, le=1)
    """At a novelty of 1 an item's score is divided by this power of one more than its events in the log."""
    loss: float = Field(gt=0, lt=1)
    """Part of HR@10 that this was allowed to cost."""
    targets: int = Field(ge=1)
    """Validation events that it was chosen on."""
    before: dict[str, FiniteFloat]
    """Without novelty: `hr@10`, `ndcg@10`, `coverage@20`, the part of the items that is among anybody's first
    20, and `share@20`, the mean share of the log's events that one of these 20 has."""
    after: dict[str, FiniteFloat]
    """The same at a novelty of 1."""
