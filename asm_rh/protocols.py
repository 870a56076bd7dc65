"""Protocols: which clips train, choose and judge a model, once or fold by fold, and whether that is fair."""

import hashlib
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, replace

from .datasets import Clip, DataError, split_by_group

OWN_SPLIT = "official split: training, validation and testing as the data give them"


@dataclass(frozen=True)
class Fold:
    """One split of all clips: every clip has its `split`; `leaky` when a speaker or source may lie in two; `protocol` in plain words."""

    name: str
    clips: list[Clip]
    leaky: bool
    protocol: str


def folds(
    clips: list[Clip], count: int | None = None, random_split: bool = False, valid_share: float = 0.1, test_share: float = 0.1,
    seed: int = 0, only: str | None = None, complete: bool = True,
) -> list[Fold]:
    """The splits that suit the clips: official ones where there are any, else by speaker or source, `count` times or once.

    `valid_share` and `test_share` are shares of the speakers or sources; with folds, validation is a share of the training part. With
    `random_split` everything known about speakers, sources and official splits is passed over, as many papers do. `only` names the one
    fold that is wanted. Raises DataError when a group would be in two splits, when there are too few groups, and, where `complete`, when
    a class cannot be trained or judged.
    """
    if not clips:
        raise DataError("no clips to split: expected some with labels")
    if not (valid_share >= 0 and test_share >= 0 and valid_share + test_share < 1):
        raise DataError(f"shares of validation {valid_share} and test {test_share}: expected 0 or more each, together less than 1")
    if count is not None and count < 2:
        raise DataError(f"{count} folds: expected at least 2; for one split leave the number of folds out")
    if {clip.split for clip in clips} == {"train"}:  # a set whose one part is called so has not been split
        clips = [replace(clip, split=None) for clip in clips]
    if random_split:
        found = _random_folds(clips, count, valid_share, test_share, seed)
    elif any(clip.fold for clip in clips) and not (count is None and all(clip.split for clip in clips)):
        found = _official_folds(clips, count, valid_share, seed)
    elif all(clip.split for clip in clips):
        found = [_official_split(clips, count, valid_share, seed)]
    elif count:
        found = _computed_folds(clips, count, valid_share, seed)
    else:
        found = [_hashed(clips, valid_share, test_share, seed, complete)]
    found = found if only is None else [_named(found, only)]
    for fold in found:
        _check(fold, complete)
    return found


def groups_known(clips: list[Clip]) -> bool:
    """Whether the clips say who belongs together: some group has more than one recording."""
    return len({clip.group for clip in clips}) < len({clip.path for clip in clips})


def shared_groups(clips: list[Clip]) -> list[str]:
    """The groups that lie in more than one split, sorted."""
    places = defaultdict(set)
    for clip in clips:
        places[clip.group].add(clip.split)
    return sorted(group for group, splits in places.items() if len(splits) > 1)


# ---------------------------------------------------------------------------------------------- official


def _official_split(clips, count, valid_share, seed):
    if count is not None:
        raise DataError(f"{count} folds asked for, but every clip has its split already: leave the number of folds out")
    if valid_share == 0 or {clip.split for clip in clips} != {"train", "test"}:
        return Fold("official", clips, False, OWN_SPLIT)
    chosen = _validation_groups([clip for clip in clips if clip.split == "train"], valid_share, seed)
    done = [replace(clip, split="valid") if clip.split == "train" and clip.group in chosen else clip for clip in clips]
    words = f"official split: testing as the data give it, of its training part {_share(valid_share, clips)} for validation"
    return Fold("official", done, False, words)


def _official_folds(clips, count, valid_share, seed):
    without = [clip for clip in clips if not clip.fold]
    if without:
        raise DataError(f"{len(without)} of {len(clips)} clips have no official fold, such as {without[0].path}: give all one, or none")
    names = sorted({clip.fold for clip in clips}, key=_natural)
    if count not in (None, len(names)):
        raise DataError(
            f"{count} folds asked for, but the data has {len(names)} official folds ({', '.join(names)}): leave the number of folds out"
        )
    if len(names) < 2:
        raise DataError(f"all clips are in one official fold, {names[0]!r}: expected at least two folds, one to judge and one to train on")
    fold_of = {}
    for clip in clips:
        if fold_of.setdefault(clip.group, clip.fold) != clip.fold:
            raise DataError(f"group {clip.group!r} is in the official folds {fold_of[clip.group]} and {clip.fold}: expected it in one")
    clips = [replace(clip, split=None) for clip in clips]
    return [_fold(name, clips, [clip.fold == name for clip in clips], "official folds", len(names), valid_share, seed) for name in names]


def _natural(name):
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)


# ---------------------------------------------------------------------------------------------- by speaker or source


def _computed_folds(clips, count, valid_share, seed):
    """Folds whose test parts share no group; clips that have a split, and all of their group, keep it in every fold."""
    given = {clip.group: clip.split for clip in clips if clip.split}
    open_clips = [clip for clip in clips if clip.group not in given]
    if groups_known(clips):
        which, words = _stratified_groups(open_clips, count, seed), "folds by speaker or source, stratified by class"
    else:
        which, words = _dealt(open_clips, count, seed), "folds by file, stratified by class (no speakers or sources are known)"
    place = iter(which)
    of_clip = [None if clip.group in given else next(place) for clip in clips]
    clips = [replace(clip, split=given.get(clip.group)) for clip in clips]
    return [_fold(str(i + 1), clips, [n == i for n in of_clip], words, count, valid_share, seed) for i in range(count)]


def _stratified_groups(clips, count, seed):
    """The fold of every clip, by scikit-learn."""
    for label, groups in _groups_of(clips).items():
        if len(groups) < count:
            some = "speaker or source" if len(groups) == 1 else "speakers or sources"
            raise DataError(
                f"class {label!r} has {len(groups)} {some}, expected at least {count} for {count} folds: ask for fewer folds, "
                "or add recordings of others"
            )
    try:
        from sklearn.model_selection import StratifiedGroupKFold
    except ImportError:
        raise DataError("folds by speaker need scikit-learn, which is not here: pip install scikit-learn") from None
    labels = _rarest_labels(clips)
    which = [0] * len(clips)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    for i, (_, tested) in enumerate(splitter.split(labels, labels, [clip.group for clip in clips])):
        for row in tested:
            which[row] = i
    return which


def _hashed(clips, valid_share, test_share, seed, complete):
    done = split_by_group(clips, valid_share, test_share, seed, complete)
    if not groups_known(clips):
        words = "split by file (no speakers or sources are known): a hash of its name"
    else:
        words = "split by speaker or source: a hash of its name"
    return Fold("split", done, False, f"{words} gives {valid_share:.0%} to validation and {test_share:.0%} to testing")


# ---------------------------------------------------------------------------------------------- regardless of speakers


def _random_folds(clips, count, valid_share, test_share, seed):
    clips = [replace(clip, split=None) for clip in clips]
    if count is None:
        test, names = _drawn(clips, test_share, seed), ["random"]
        parts = [[i in test for i in range(len(clips))]]
    else:
        which, names = _dealt(clips, count, seed), [str(i + 1) for i in range(count)]
        parts = [[n == i for n in which] for i in range(count)]
    return [_random_fold(name, clips, part, count, valid_share, seed) for name, part in zip(names, parts)]


def _random_fold(name, clips, tested, count, valid_share, seed):
    rest = [i for i, test in enumerate(tested) if not test]
    valid = {rest[i] for i in _drawn([clips[i] for i in rest], valid_share, seed)}
    done = [replace(c, split="test" if tested[i] else "valid" if i in valid else "train") for i, c in enumerate(clips)]
    what = "random split" if count is None else f"{count} random folds, fold {name} for testing"
    if not groups_known(clips):
        return Fold(name, done, False, f"{what}, stratified by class; no speakers or sources are known")
    shared, groups = len(shared_groups(done)), len({clip.group for clip in clips})
    return Fold(name, done, True, f"leaky, paper-style: {what}, {shared} of {groups} speakers or sources in two splits")


def _dealt(clips, count, seed):
    """A fold for every clip, dealt out class by class like cards."""
    which, turn = [0] * len(clips), 0
    for label, rows in _shuffled_classes(clips, seed):
        if len(rows) < count:
            raise DataError(f"class {label!r} has {len(rows)} clips, expected at least {count} for {count} folds: ask for fewer folds")
        for row in rows:
            which[row] = turn % count
            turn += 1
    return which


def _drawn(clips, share, seed):
    """Rows drawn at random, the same share of every class and at least one where it has three."""
    chosen = set()
    for _, rows in _shuffled_classes(clips, seed):
        least = 1 if share > 0 and len(rows) >= 3 else 0
        chosen |= set(rows[: max(least, round(share * len(rows)))])
    return chosen


def _shuffled_classes(clips, seed):
    rows = defaultdict(list)
    for row, label in enumerate(_rarest_labels(clips)):
        rows[label].append(row)
    for label in sorted(rows):
        random.Random(f"{seed}/{label}").shuffle(rows[label])
        yield label, rows[label]


# ---------------------------------------------------------------------------------------------- what all share


def _fold(name, clips, tested, words, count, valid_share, seed):
    """One of several folds: what is tested, a share of the other groups for validation, the rest for training."""
    rest = [clip for clip, test in zip(clips, tested) if not test and not clip.split]
    chosen = _validation_groups(rest, valid_share, seed)
    parts = ["test" if test else "valid" if clip.group in chosen else "train" for clip, test in zip(clips, tested)]
    done = [replace(clip, split=clip.split or part) for clip, part in zip(clips, parts)]
    words = f"{count} {words}: fold {name} for testing, of the others {_share(valid_share, clips)} for validation"
    return Fold(name, done, False, words)


def _share(share, clips):
    return f"about {share:.0%}{', by speaker or source,' if groups_known(clips) else ''}"


def _validation_groups(clips, share, seed):
    """Groups that hold about `share` of every class, and something of each class that can spare a group."""
    if share == 0:
        return set()
    members = defaultdict(Counter)
    for clip in clips:
        members[clip.group].update(clip.labels)
    wanted = Counter()
    for labels in members.values():
        wanted.update(labels)
    wanted = {label: share * clips_count for label, clips_count in wanted.items()}
    left = Counter(label for labels in members.values() for label in labels)  # groups that stay for training
    order = sorted(members, key=lambda group: hashlib.sha1(f"{seed}/{group}".encode()).digest())
    chosen, have = set(), Counter()

    def take(group):
        if group in chosen or any(left[label] < 2 for label in members[group]):
            return
        chosen.add(group)
        have.update(members[group])
        left.subtract(dict.fromkeys(members[group], 1))

    for group in order:
        need = {label: wanted[label] - have[label] for label in members[group]}
        if sum(abs(need[label]) - abs(need[label] - size) for label, size in members[group].items()) > 0:
            take(group)
    for group in sorted(order, key=lambda group: members[group].total()):
        if any(not have[label] for label in members[group]):
            take(group)
    return chosen


def _rarest_labels(clips):
    """One label for each clip, that of several which the fewest clips have."""
    counts = Counter(label for clip in clips for label in clip.labels)
    return [min(clip.labels, key=lambda label: (counts[label], label)) for clip in clips]


def _groups_of(clips):
    groups = defaultdict(set)
    for clip in clips:
        for label in clip.labels:
            groups[label].add(clip.group)
    return groups


def _named(found, name):
    for fold in found:
        if fold.name == name:
            return fold
    if len(found) == 1:
        raise DataError(f"no fold {name!r}: the data is split once, as {found[0].name!r}; for several give their number (--folds N)")
    raise DataError(f"no fold {name!r}: expected one of {', '.join(fold.name for fold in found)}")


def _check(fold, complete):
    """Refuses a fold that leaks without saying so, or where a class cannot be trained or judged."""
    shared = [] if fold.leaky else shared_groups(fold.clips)
    if shared:
        raise DataError(f"group {shared[0]!r} is in two splits of fold {fold.name!r}: move it to one")
    if not complete:
        return
    places = defaultdict(set)
    for clip in fold.clips:
        for label in clip.labels:
            places[label].add(clip.split)
    for label in sorted(places):
        if "train" not in places[label]:
            where = " and ".join(sorted(places[label]))
            raise DataError(
                f"class {label!r} is in {where} only (fold {fold.name!r}), so it cannot be learnt: add recordings of other speakers or "
                "sources, or leave the class out"
            )
        if places[label] == {"train"} and len({clip.split for clip in fold.clips}) > 1:
            raise DataError(
                f"class {label!r} is in train only (fold {fold.name!r}), so it cannot be judged: add recordings of other speakers or "
                "sources, or leave the class out"
            )
