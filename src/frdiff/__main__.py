"""`python -m frdiff`: the command line."""

from frdiff.cli import main

if __name__ == "__main__":
    main()
