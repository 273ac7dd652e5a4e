"""Before numpy or torch are imported: one thread each, in this process and those it starts.

On a machine of few cores that several runs share, threads that spin while they wait for each other
cost more than the work itself.
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
