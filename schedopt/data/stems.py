"""Which stems add up to which, in the data and in the model: the study file's `[data.stems]` and `[separator.stems]`.

    [separator.stems]                              # a model that splits more finely than the data
    other = ["other", "guitar", "piano"]

A mapping gives a stem the sum of the listed ones, which it takes the place of. A stem that is to keep its own part is
in its own list. Names are lower case.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from schedopt.errors import DataError
from schedopt.types import STEMS

KNOWN_STEMS = (
    *STEMS,
    *("guitar", "piano"),  # htdemucs_6s
    *("bowed_strings", "percussion", "other_keys", "other_plucked", "wind"),  # MoisesDB
)
"""Names by which files are taken for stems, beside those of the mapping and of the model."""

StemSums = Mapping[str, Sequence[str]]
"""A stem → the stems whose sum it is."""


@dataclass(frozen=True)
class StemPlan:
    """How a model's estimates and the data's references meet.

    Attributes:
        estimates: target → the model's stems whose estimates add up to it, in the model's order.
        references: stem of the mixture → the data's stems that add up to it: targets first, in the model's order, then
            those that the model has no stem for. Their sum is the whole song.
        model_only, data_only: stems that the other side has no counterpart of.
    """

    estimates: Mapping[str, tuple[str, ...]]
    references: Mapping[str, tuple[str, ...]]
    model_only: tuple[str, ...]
    data_only: tuple[str, ...]

    @property
    def targets(self) -> tuple[str, ...]:
        """Stems that model and data both have: those that can be extracted and scored."""
        return tuple(self.estimates)

    @property
    def notes(self) -> tuple[str, ...]:
        """A line for each side that has stems of its own, since the other's scores may mean something else then."""
        model, data = ", ".join(self.model_only), ", ".join(self.data_only)
        lines = []
        if data:
            lines.append(f"{data}: in the mixture, but no stem of the model; [data.stems] says what counts as what")
        if model:
            lines.append(f"{model}: of the model, but not in the data; [separator.stems] says what counts as what")
        return tuple(lines)


def plan_stems(
    model: Sequence[str],
    data: Sequence[str],
    model_sums: StemSums | None = None,
    data_sums: StemSums | None = None,
) -> StemPlan:
    """Match the stems of a model with those of the data.

    Args:
        model: the model's stems, in its order.
        data: the data's own stems. Tracks that were loaded with a mapping have it applied: leave `data_sums` out then.
        model_sums, data_sums: `[separator.stems]` and `[data.stems]`.

    Raises:
        DataError: no stem is in both, a mapping names a stem that the model does not have, or a stem twice.
    """
    for stem, listed in (model_sums or {}).items():
        if absent := [part for part in listed if part not in model]:
            raise DataError(
                f"separator.stems.{stem}: the model has no stem {', '.join(absent)}, only {', '.join(model)}"
            )
    estimates, references = add_up(model, model_sums or {}), add_up(data, data_sums or {})
    targets = [stem for stem in estimates if stem in references]
    if not targets:
        raise DataError(
            f"the model's stems are {', '.join(estimates)}, the data's {', '.join(references)}: none is in both; say"
            " in [data.stems] or [separator.stems] which add up to which"
        )
    data_only = [stem for stem in references if stem not in targets]
    return StemPlan(
        {stem: estimates[stem] for stem in targets},
        {stem: references[stem] for stem in (*targets, *data_only)},
        tuple(stem for stem in estimates if stem not in targets),
        tuple(data_only),
    )


def add_up(stems: Iterable[str], sums: StemSums) -> dict[str, tuple[str, ...]]:
    """`stems` after the mapping `sums`: each stem that is left or made → the ones of `stems` whose sum it is.

    Of a list's members those that are there add up; a stem of whose list none is there is not made. A stem that a
    mapping makes is its list and nothing else.

    Raises:
        DataError: a stem counts in two sums.
    """
    goes_to: dict[str, str] = {}
    for stem, listed in sums.items():
        for member in listed:
            if member in goes_to:
                raise DataError(
                    f"the stem {member!r} counts in {goes_to[member]!r} and {stem!r}: name it in one list, once"
                )
            goes_to[member] = stem
    made: dict[str, tuple[str, ...]] = {}
    for stem in stems:
        name = goes_to.get(stem, None if stem in sums else stem)
        if name is not None:
            made[name] = (*made.get(name, ()), stem)
    return made


def in_order(stems: Collection[str]) -> list[str]:
    """`stems`, the known ones in the order of KNOWN_STEMS, the others after them by name."""
    return [stem for stem in KNOWN_STEMS if stem in stems] + sorted(set(stems) - set(KNOWN_STEMS))


def all_names(sums: StemSums) -> set[str]:
    """Every name in a mapping."""
    return set(sums).union(*sums.values())
