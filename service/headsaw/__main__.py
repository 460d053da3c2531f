"""`python -m headsaw` is the `headsaw` command."""

from headsaw.cli import main

if __name__ == "__main__":
    main()
