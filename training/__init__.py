"""How the shipped weights are made: data, augmentation, loss, loop, release. Not in the wheel."""
