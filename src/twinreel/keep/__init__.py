"""Which file of a group is worth keeping, why, and what each other one has that it lacks.

    group = choose(videos, match, strips, KeepOptions())
    print(group.keep, group.why, group.losses)

One criterion after the other narrows the members down until one is left: intact, preferred by the
user, complete (seconds, sound, subtitles), colour, the whole picture, nothing laid over it, real
detail, HDR, resolution, no borders, bitrate, frame rate, age, path. Differences within a tolerance
are ties. Nothing hangs on the order in which members are given.

choose.py is the page to open: the criteria in their order. race.py narrows the members down,
quality.py measures, views.py lays pictures on each other, holds.py says what one file holds that
another lacks, losses.py what goes with a file that is removed.
"""

from twinreel.keep.choose import VERSION as VERSION
from twinreel.keep.choose import choose as choose
from twinreel.keep.holds import missing_tracks as missing_tracks
from twinreel.keep.holds import other_speed as other_speed
from twinreel.keep.holds import unheld_s as unheld_s
from twinreel.keep.losses import lost as lost
from twinreel.keep.views import Views as Views
from twinreel.keep.wishes import from_anywhere as from_anywhere
from twinreel.keep.wishes import matches as matches
from twinreel.keep.wishes import unmatched as unmatched
