"""CSV and folders in: everything wrong is said before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinreel.errors import BadManifest
from twinreel.extract.manifest import from_csv, from_files, run_folder


def _csv(folder: Path, text: str) -> Path:
    path = folder / "list.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


def test_spaces_in_the_header_quotes_and_the_seed_suffix(tmp_path: Path) -> None:
    text = 'video_path , feature_path\n"/v/a, b.mp4","/f/a, b.npy"\n"/v/c\nd.mp4",/f/cd\n\n'
    jobs = from_csv(_csv(tmp_path, "\ufeff" + text))
    assert [j.video for j in jobs] == ["/v/a, b.mp4", "/v/c\nd.mp4"]
    assert [j.output for j in jobs] == ["/f/a, b.npy", "/f/cd.npy"]  # as numpy appends it
    assert [j.name for j in jobs] == ["a, b.npy", "cd.npy"]
    assert run_folder(jobs) == Path("/f")


def test_start_and_end_give_one_output_per_row(tmp_path: Path) -> None:
    text = "end,video_path,start,feature_path\n,/v/a.mp4,,/f/1\n9.5,/v/a.mp4,2,/f/2\n"
    first, second = from_csv(_csv(tmp_path, text))
    assert (first.start, first.end) == (0.0, None)
    assert (second.start, second.end) == (2.0, 9.5)


def test_the_output_suffix_follows_the_format(tmp_path: Path) -> None:
    jobs = from_csv(_csv(tmp_path, "video_path,feature_path\n/v/a.mp4,/f/a.npy\n"), ".npz")
    assert jobs[0].output == "/f/a.npz"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("video_path\n/v/a.mp4\n", "no column feature_path"),
        ("video_path,feature_path\n", "no rows"),
        ("video_path,feature_path,start,start\na,b,1,2\n", "stands twice"),
        ("video_path,feature_path\n/v/a.mp4,/f/1\n/v/b.mp4,/f/1.npy\n", "same output as row 2"),
        ("video_path,feature_path\n/v/a.mp4,/f/1\n/v/a.mp4,/f/1\n", "row 3: repeats row 2"),
        ("video_path,feature_path\n/v/a.mp4,\n", "row 2: feature_path is empty"),
        ("video_path,feature_path,start,end\n/v/a.mp4,/f/1,5,4\n", "end 4 is not after start 5"),
        ("video_path,feature_path,start\n/v/a.mp4,/f/1,soon\n", "got 'soon'"),
        ('video_path,feature_path\n"/v/a.mp4,/f/1\n', "not a CSV"),
        ("video_path,feature_path\n/v/a, b.mp4,/f/1\n", "row 2: 3 cells, the header has 2"),
        ("video_path,feature_path\n/v/a.mp4,/1/x\n/v/b.mp4,/2/x\n", "name a folder for it with -o"),
    ],
)
def test_what_is_wrong_is_named(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(BadManifest) as caught:
        from_csv(_csv(tmp_path, text))
    assert words in str(caught.value)


def test_all_bad_rows_are_listed_at_once(tmp_path: Path) -> None:
    rows = "".join(f"/v/{i}.mp4,\n" for i in range(12))
    with pytest.raises(BadManifest) as caught:
        from_csv(_csv(tmp_path, "video_path,feature_path\n" + rows))
    assert "row 2:" in str(caught.value) and "and 2 more" in str(caught.value)


def test_a_missing_csv_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadManifest, match="No such file"):
        from_csv(tmp_path / "none.csv")


def test_folders_are_mirrored(tmp_path: Path) -> None:
    files = ["/films/a/x.mp4", "/films/b/x.mp4", "/films/b/x.mkv", "/other/y.mp4"]
    jobs = from_files(files, ["/films", "/other/y.mp4"], tmp_path)
    assert [j.name for j in jobs] == ["a/x.mp4.npy", "b/x.mp4.npy", "b/x.mkv.npy", "y.mp4.npy"]
    assert all(Path(j.output) == tmp_path.resolve() / j.name for j in jobs)


def test_two_roots_with_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadManifest, match="common parent"):
        from_files(["/a/x.mp4", "/b/x.mp4"], ["/a", "/b"], tmp_path)
