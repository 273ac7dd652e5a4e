"""`python -m twinreel` is the command."""

from twinreel.cli import main

if __name__ == "__main__":
    main()
