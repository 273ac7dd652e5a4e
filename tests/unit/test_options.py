"""options: each declared once, checked where it is made, the same from a file, a flag or a call."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from twinreel.errors import BadConfig
from twinreel.options import (
    EXTENSIONS,
    CompareOptions,
    DecodeOptions,
    DiscoverOptions,
    DupsOptions,
    ModelOptions,
    OutputOptions,
    SampleOptions,
    fingerprint,
    flat_names,
    flatten,
    gather,
    read_config,
    stages,
)


@pytest.mark.parametrize(
    ("cls", "values", "words"),
    [
        (DiscoverOptions, {"min_size": -1}, "min_size.*-1"),
        (SampleOptions, {"fps": 0.0}, "fps.*0.0"),
        (SampleOptions, {"moments": 0}, "moments.*0"),
        (DecodeOptions, {"jobs": -1}, "jobs.*-1"),
        (DecodeOptions, {"stall": 0}, "stall.*0"),
        (DecodeOptions, {"bad_packets": 1.5}, "bad_packets.*1.5"),
        (ModelOptions, {"batch_size": 0}, "batch_size.*0"),
        (ModelOptions, {"embedding_size": -2}, "embedding_size.*-2"),
        (CompareOptions, {"min_score": 1.1}, "min_score.*1.1"),
        (CompareOptions, {"epsilon": -0.1}, "epsilon.*-0.1"),
        (CompareOptions, {"part_score": 1.1}, "part_score.*1.1"),
        (CompareOptions, {"min_samples": 0}, "min_samples.*0"),
        (CompareOptions, {"length_tolerance": "soon"}, "length_tolerance.*'soon'"),
        (CompareOptions, {"length_tolerance": "-5s"}, "length_tolerance"),
        (OutputOptions, {"map": ("here",)}, "OLD=NEW.*'here'"),
    ],
)
def test_a_broken_rule_names_the_option_and_the_value(
    cls: type, values: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        cls(**values)
    with pytest.raises(BadConfig, match=words):
        gather(values, DupsOptions)


def test_min_score_and_epsilon_are_one_thing() -> None:
    with pytest.raises(ValueError, match="give one of them"):
        CompareOptions(min_score=0.9, epsilon=0.1)
    assert CompareOptions(epsilon=0.1).threshold(0.5) == pytest.approx(0.9)
    assert CompareOptions(min_score=0.8).threshold(0.5) == 0.8
    assert CompareOptions(min_score=0.0).threshold(0.5) == 0.0
    assert CompareOptions().threshold(0.5) == 0.5


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("5s", (5.0, 0.0)), ("5", (5.0, 0.0)), ("20%", (0.0, 0.2)), ("ANY", (float("inf"), 0.0))],
)
def test_length_tolerance(text: str, wanted: tuple[float, float]) -> None:
    assert CompareOptions(length_tolerance=text).tolerance() == wanted


def test_clips_compare_any_length_and_look_densely() -> None:
    assert CompareOptions(clips=True).tolerance() == (float("inf"), 0.0)
    assert gather({"clips": True}, DupsOptions).sample.sampler == "dense"
    assert gather({"clips": True, "sampler": "fps"}, DupsOptions).sample.sampler == "fps"


def test_extensions_in_any_spelling() -> None:
    assert DiscoverOptions(ext=(".MP4", "mkv")).extensions == {"mp4", "mkv"}
    assert DiscoverOptions().extensions == set(EXTENSIONS)
    assert len(EXTENSIONS) == len(set(EXTENSIONS)) > 24


def test_every_option_has_help_a_type_and_one_home() -> None:
    seen: dict[str, str] = {}
    for stage, cls in stages().items():
        assert cls.__doc__
        for field in dataclasses.fields(cls):
            assert field.metadata["help"].endswith((".", ")")), field.name
            assert field.name not in seen, f"{field.name} is in {stage} and {seen[field.name]}"
            seen[field.name] = stage
            choices = field.metadata.get("choices")
            if choices is not None:
                assert field.default in choices
    assert sorted(seen) == flat_names()


def test_the_help_of_ext_counts_the_extensions() -> None:
    (help_text,) = (
        f.metadata["help"] for f in dataclasses.fields(DiscoverOptions) if f.name == "ext"
    )
    assert f" {len(EXTENSIONS)})" in help_text


def test_options_are_records() -> None:
    for cls in stages().values():
        with pytest.raises(dataclasses.FrozenInstanceError):
            cls().anything = 1


def test_gather_and_flatten_are_inverse() -> None:
    options = gather({"min_score": 0.7, "ext": ("mp4",), "jobs": 3}, DupsOptions)
    assert (options.compare.min_score, options.decode.jobs) == (0.7, 3)
    assert gather(flatten(options), DupsOptions) == options
    assert sorted(flatten(options)) == flat_names()


def test_an_unknown_option_is_named_with_the_known_ones() -> None:
    with pytest.raises(BadConfig, match="unknown option 'min_scor'.*min_score"):
        gather({"min_scor": 0.5}, DupsOptions)


def config(tmp_path: Path, text: str) -> dict[str, object]:
    path = tmp_path / "twinreel.toml"
    path.write_text(text, encoding="utf-8")
    return read_config(path)


def test_a_file_at_the_top_or_by_stage(tmp_path: Path) -> None:
    top = config(tmp_path, 'min_score = 0.8\next = ["mp4", "mkv"]\n')
    tables = config(tmp_path, '[compare]\nmin_score = 0.8\n[discover]\next = ["mp4", "mkv"]\n')
    assert top == tables == {"min_score": 0.8, "ext": ("mp4", "mkv")}


def test_the_first_seeds_names(tmp_path: Path) -> None:
    values = config(
        tmp_path,
        'videos_dir = "/v"\nextensions = ["mp4"]\nbatch_size = 8\nembedding_size = 64\n'
        "epsilon = 0.05\ndelete_files = false\n",
    )
    assert values.pop("paths") == ("/v",)
    options = gather(values, DupsOptions)
    assert options.discover.extensions == {"mp4"}
    assert (options.model.batch_size, options.model.embedding_size) == (8, 64)
    assert options.compare.threshold(0.5) == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("delete_files = true", "twinreel act trash"),
        ("[discover]\nmin_sise = 3", "unknown option 'min_sise'"),
        ("[discovery]\nmin_size = 3", r"unknown table \[discovery\].*discover"),
        ("min_size = ", "not readable as TOML"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadConfig, match=f"twinreel.toml.*{words}"):
        config(tmp_path, text)


def test_fingerprints_follow_values() -> None:
    assert fingerprint(SampleOptions(), 1) == fingerprint(SampleOptions(), 1)
    assert fingerprint(SampleOptions(), 1) != fingerprint(SampleOptions(fps=2.0), 1)
    assert len(fingerprint("x")) == 12
