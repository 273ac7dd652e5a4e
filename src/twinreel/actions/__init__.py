"""A report becomes changes on the disk: planned, shown, done when asked, taken back when asked.

    from twinreel.actions import apply, plan, undo

    steps = plan(report, "trash", keep="best")
    outcome = apply(steps)
    undo(outcome.journal)

plan     report and policy -> steps, pure            survey   what the disk says to them
apply    steps -> done or refused, each alone        kinds, links   each action, and its way back
journal  what was done, on the disk before it is     undo     taken back; the quarantine emptied
places   trash and quarantine of a file system       disk     all system calls
foreign  other tools' reports                        script   a plan as shell commands

What no report, option, order, failure or second run can bring about: that content of a group is
left without a real file. See docs/safety.md.
"""

from twinreel.actions import links as links  # registers the link actions
from twinreel.actions.apply import Outcome, apply
from twinreel.actions.disk import Disk
from twinreel.actions.foreign import load, write
from twinreel.actions.journal import JournalLost, list_journals
from twinreel.actions.kinds import ACTIONS, Action, action
from twinreel.actions.plan import ActOptions, Plan, Skip, plan
from twinreel.actions.script import write_script
from twinreel.actions.survey import survey
from twinreel.actions.undo import history, purge, purge_plan, settle, undo

__all__ = [
    "ACTIONS",
    "ActOptions",
    "Action",
    "Disk",
    "JournalLost",
    "Outcome",
    "Plan",
    "Skip",
    "action",
    "apply",
    "history",
    "list_journals",
    "load",
    "plan",
    "purge",
    "purge_plan",
    "settle",
    "survey",
    "undo",
    "write",
    "write_script",
]
