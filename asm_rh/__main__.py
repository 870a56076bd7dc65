"""`python -m asm_rh` is the command `asm-rh`."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
