"""Contents -> features in the library: what is not known yet is decoded and embedded.

Second stage of a run, after inventory.py. Each content is opened once, however many files hold it.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twinreel import models
from twinreel.compare import Calibration
from twinreel.embed import features
from twinreel.errors import CannotRead, VideoError
from twinreel.inventory import Inventory
from twinreel.sample import plan, sampling_id
from twinreel.types import Failure, VideoFile


@dataclass(kw_only=True)
class Looking(Inventory):
    """An inventory whose contents have features of one model and sampling after `look`."""

    spec: models.ModelSpec
    model: str = ""
    weights_sha256: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sampling = sampling_id(self.options.sample, self.spec.size)
        self.calibration = Calibration(**self.spec.extra.get("calibration", {}))
        least = self.spec.min_score if self.spec.min_score is not None else 0.9
        self.min_score = self.options.compare.threshold(least)

    def look(self) -> None:
        """Decode and embed every content that the library does not know under this model."""
        if self.options.decode.features:
            from twinreel.given import take

            take(self, Path(self.options.decode.features))
            return
        self.name_model()
        done = self.library.known(self.model, self.sampling)
        past = {} if self.options.decode.retry_failed else self.library.failures()
        todo: dict[str, list[VideoFile]] = defaultdict(list)
        for file in self.files:
            key = file.key or ""
            if key in done or (key not in todo and self._reused(key)):
                continue
            if key in past and not past[key].transient:
                p = past[key]
                self.failures.append(Failure(file.path, p.stage, p.error, p.detail))
            else:
                todo[key].append(file)
        while todo:
            todo = self._look_at(todo)

    def _look_at(self, todo: dict[str, list[VideoFile]]) -> dict[str, list[VideoFile]]:
        """Look at the first file of each content; returns those of which another must be tried."""
        if self.options.decode.runner == "ray":
            from twinreel.rays_look import look_there as look_all
        else:
            from twinreel.jobs import look_all

        again: dict[str, list[VideoFile]] = {}
        for item in look_all([files[0] for files in todo.values()], self):
            if not isinstance(item, VideoError):
                facts, features, thumbs, inset = item
                self.library.put_look(facts, features, thumbs, self.sampling, inset)
                continue
            key: str = getattr(item, "key", "")
            first, *others = todo[key]
            if isinstance(item, CannotRead) and self.root_gone(first):
                self.not_reached += 1
                return {}
            self.failed(item, key)
            if item.stage == "read" and others:
                again[key] = others  # this file's fault, not the content's
            else:
                kind = type(item).__name__
                for file in others:
                    self.failures.append(Failure(file.path, item.stage, kind, item.detail))
        return again

    def _reused(self, key: str) -> bool:
        """Take over rows of another sampling of the grid when it holds every planned moment."""
        if self.options.sample.sampler == "keyframes":
            return False  # its rows are of other moments than the grid says
        for sampling in self.library.samplings(key, self.model):
            held = self.library.features(key, self.model, sampling)
            if held is None or sampling.startswith("keyframes"):
                continue
            wanted = plan(held.duration_s, self.options.sample).times_s
            place = {round(t, 6): i for i, t in enumerate(held.times_s.tolist())}
            rows = [place.get(round(t, 6), -1) for t in wanted.tolist()]
            if rows and min(rows) >= 0:
                self.library.put_features(
                    features(
                        key,
                        self.model,
                        self.sampling,
                        wanted,
                        held.blank[rows],
                        held.vectors[rows],
                        held.duration_s,
                    )
                )
                return True
        return False

    def name_model(self) -> None:
        """The model's name and weights hash, without loading the network."""
        from twinreel.models.identity import identity, weights_sha256

        self.weights_sha256 = weights_sha256(self.spec, self.options.model.weights)
        size = self.options.model.embedding_size
        self.model = identity(self.spec, self.weights_sha256, 0 if size == self.spec.dim else size)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Ctrl-C inside marks the run as partial and goes no further."""
        try:
            yield
        except KeyboardInterrupt:
            self.partial = True
