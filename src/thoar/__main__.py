"""``python -m thoar``, which ``torchrun -m thoar`` needs."""

from thoar.cli.app import main

if __name__ == "__main__":
    main()
