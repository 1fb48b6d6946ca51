"""`python -m marm` is `marm`."""

import os
import sys

from marm.cli.parent import end_with_parent

# glibc gives large freed blocks back to the system and takes a page fault for every page when it needs them again:
# kept, a step with long histories is several times faster. It reads these at start only.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 26)}


def main() -> None:
    """Start anew with the allocator set, before anything large is imported; then run the command."""
    end_with_parent()
    if sys.platform == "linux" and not any(name in os.environ for name in ALLOCATOR):
        os.execve(sys.executable, [sys.executable, "-m", "marm", *sys.argv[1:]], {**os.environ, **ALLOCATOR})
    from marm.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
