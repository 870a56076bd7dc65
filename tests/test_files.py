"""Files are whole or not there, also when the disk is full in the middle of writing."""

import os

import pytest

from asm_rh.files import write_text, write_whole


def test_what_is_written_is_there_and_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "one\r\ntwo\n")
    assert (tmp_path / "a.txt").read_bytes() == b"one\r\ntwo\n" and os.listdir(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_leaves_what_was_there(tmp_path, error):
    def half(path):
        with open(path, "w") as file:
            file.write("ha")
        raise error

    write_text(tmp_path / "a.txt", "before")
    with pytest.raises(type(error)):
        write_whole({tmp_path / "b.txt": lambda path: write_text(path, "new"), tmp_path / "a.txt": half})
    assert (tmp_path / "a.txt").read_text() == "before" and os.listdir(tmp_path) == ["a.txt"]
