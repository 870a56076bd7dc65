"""What tests of Ctrl-C share."""

import signal


def interrupt_at(count):
    """A report that is interrupted when it is called for the count-th time."""
    calls = []

    def report(line):
        calls.append(line)
        if len(calls) == count:
            raise KeyboardInterrupt

    return report


def heed_interrupts():
    """For a started program: what runs the tests may have SIGINT ignored, and a program inherits that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
