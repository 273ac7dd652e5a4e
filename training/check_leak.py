"""Does any training picture show a frame of the scoreboard?

    python -m training.check_leak --run runs/v1 --videos ../shared/corpus/videos

Goes in: the run's pictures, the released weights, a folder of videos. The key frames of every video
(at most one a second) are compared with every photograph twice: by the network (cosine), and by a
64-bit difference hash (Hamming distance, plain and mirrored). Drawn pictures come from seeds and
are left out. Comes out: the closest pairs, as JSON and as a contact
sheet for a human to judge, because a high cosine alone does not prove a shared origin. The exit
status is 1 if a pair passes the network's limit: so short a hash alone brings hundreds of pairs
that have nothing in common.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from training.data import load_pool
from training.evaluate import at_size, embed, stacked
from training.release import FILE
from twinreel.models.twin import SIZE, TwinNet

_COSINE = 0.75
_BITS = 10


def frames(path: Path, every_s: float) -> list[np.ndarray]:
    """uint8 (SIZE, SIZE, 3) key frames of a video, at least so many seconds apart.

    Where the decoder gives no key frame (a stream cut at its head), any frames.
    """
    for which in ("NONKEY", "DEFAULT"):
        out: list[np.ndarray] = []
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.skip_frame = which
            due = 0.0
            for frame in container.decode(stream):
                if frame.time is None or frame.time >= due:
                    due = (frame.time or 0.0) + every_s
                    image = frame.to_image().resize((SIZE, SIZE), Image.Resampling.BICUBIC)
                    out.append(np.asarray(image.convert("RGB")))
        if out:
            break
    return out


def difference_hash(pixels: np.ndarray) -> np.ndarray:
    """uint8 (n, 3, h, w) -> bool (n, 64): is each of 8 x 9 grey cells brighter than the next."""
    out = np.empty((len(pixels), 64), bool)
    for i, picture in enumerate(pixels):
        grey = Image.fromarray(picture.transpose(1, 2, 0)).convert("L")
        cells = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), int)
        out[i] = (cells[:, 1:] > cells[:, :-1]).ravel()
    return out


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamming distances of bool (n, 64) and (m, 64): int (n, m)."""
    x, y = a.astype(np.float32) * 2 - 1, b.astype(np.float32) * 2 - 1
    return ((64 - x @ y.T) / 2).round().astype(int)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/v1"))
    parser.add_argument("--weights", type=Path, default=Path("src/twinreel/data") / FILE)
    parser.add_argument("--videos", type=Path, default=Path("../shared/corpus/videos"))
    parser.add_argument("--every", type=float, default=1.0, help="least seconds between frames")
    args = parser.parse_args()
    torch.set_num_threads(1)
    state = torch.load(args.run / "average.pt", map_location="cpu", weights_only=True)
    data = state["config"]["data"]
    pool = load_pool(None, args.run / "pool.npz", size=data["size"], drawn=data["drawn"])
    net = TwinNet.fused(load_file(args.weights))

    names: list[str] = []
    pictures: list[np.ndarray] = []
    unread: list[str] = []
    for path in sorted(p for p in args.videos.rglob("*") if p.is_file()):
        try:
            found = frames(path, args.every)
        except (av.FFmpegError, IndexError) as error:
            unread.append(f"{path.name}: {error}")
            continue
        if not found:
            unread.append(f"{path.name}: no frame")
        names += [f"{path.name} key frame {i}" for i in range(len(found))]
        pictures += found
    if not pictures:
        raise SystemExit(f"{args.videos}: no readable video; pass --videos FOLDER")
    seen = np.stack(pictures).transpose(0, 3, 1, 2)
    flat = seen.std(axis=(1, 2, 3)) < 8  # a black frame equals every black picture
    photos = np.flatnonzero(pool.folder >= 0)
    ours = stacked(at_size(pool, photos, SIZE)).numpy()
    ours_names = [pool.names[i] for i in photos]
    z = embed(net, torch.from_numpy(seen)) @ embed(net, torch.from_numpy(ours)).T
    bits = np.minimum(distances(difference_hash(seen), difference_hash(ours)),
                      distances(difference_hash(seen[..., ::-1]), difference_hash(ours)))
    cosine = z.numpy()
    cosine[flat] = -1
    bits[flat] = 64
    order = np.argsort(cosine.max(axis=1))[::-1]
    pairs = [{"frame": names[i], "picture": ours_names[j], "cosine": round(float(cosine[i, j]), 3),
              "bits": int(bits[i, j])} for i in order[:20] for j in [int(cosine[i].argmax())]]
    near = np.argsort(bits.min(axis=1))[:20]
    by_hash = [{"frame": names[i], "picture": ours_names[j], "bits": int(bits[i, j]),
                "cosine": round(float(cosine[i, j]), 3)}
               for i in near for j in [int(bits[i].argmin())]]
    alike = int((cosine > _COSINE).sum())
    both = int(((cosine > _COSINE) & (bits <= _BITS)).sum())
    result = {
        "videos": len({name.split(" key")[0] for name in names}), "frames": len(names),
        "flat_frames_left_out": int(flat.sum()), "pictures": len(ours),
        "unread": unread, "pairs_over_cosine": alike,
        "pairs_within_bits": int((bits <= _BITS).sum()), "pairs_both": both,
        "limits": {"cosine": _COSINE, "bits": _BITS}, "highest_cosine": pairs, "nearest": by_hash,
    }
    (args.run / "leak.json").write_text(json.dumps(result, indent=2) + "\n")
    rows = []
    for i in order[:10]:
        j = int(cosine[i].argmax())
        k = int(bits[i].argmin())
        rows.append(np.hstack([p.transpose(1, 2, 0) for p in (seen[i], ours[j], ours[k])]))
    sheet = np.vstack([np.hstack(rows[:5]), np.hstack(rows[5:])]) if len(rows) == 10 else rows[0]
    Image.fromarray(sheet).save(args.run / "leak.png")
    print(json.dumps({k: v for k, v in result.items() if k not in {"nearest"}}, indent=2))
    sys.exit(1 if alike else 0)


if __name__ == "__main__":
    main()
