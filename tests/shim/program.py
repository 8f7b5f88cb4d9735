#!/usr/bin/env python3
"""What a careless and a careful program do with files, for the test of powerloss.c. program.py FOLDER"""
import os, sys

root = sys.argv[1]


def path(name):
    return os.path.join(root, name)


def write(name, text, sync, flags=os.O_CREAT | os.O_TRUNC):
    fd = os.open(path(name), os.O_WRONLY | flags, 0o600)
    os.write(fd, text)
    if sync:
        os.fsync(fd)
    os.close(fd)


def sync_folder(name):
    fd = os.open(path(name), os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)


for folder in ("new", "tmp", "old"):
    os.mkdir(path(folder))
sync_folder(".")

write("new/both-synced", b"content", True)
write("new/name-synced", b"content", False)
write("new/grown", b"one", True)
write("new/overwritten", b"0123456789", True)
write("new/cut", b"0123456789", True)
write("new/removed", b"content", True)
write("new/removed-for-good", b"content", True)
write("new/replaced", b"before", True)
write("new/replaced-for-good", b"before", True)
write("tmp/moved", b"content", True)
write("tmp/moved-within", b"content", True)
write("old/left", b"content", True)
sync_folder("new")
sync_folder("old")

# Not durable: the content, or the name.
write("new/grown", b" two", False, os.O_APPEND)
fd = os.open(path("new/overwritten"), os.O_WRONLY)
os.pwrite(fd, b"XXX", 3)
os.close(fd)
os.truncate(path("new/cut"), 4)

# A rename is one step, whichever folder is synced.
os.rename(path("tmp/moved"), path("new/moved"))
os.rename(path("old/left"), path("tmp/arrived"))
os.unlink(path("new/removed-for-good"))
write("new/fresh", b"after", True)
os.rename(path("new/fresh"), path("new/replaced-for-good"))
os.link(path("new/both-synced"), path("new/linked"))
sync_folder("new")
sync_folder("old")

# From here on no folder is synced.
os.unlink(path("new/removed"))
write("new/fresh", b"after", True)
os.rename(path("new/fresh"), path("new/replaced"))
os.rename(path("tmp/moved-within"), path("tmp/renamed"))
write("new/content-synced", b"content", True)
os.mkdir(path("unsynced"))
write("unsynced/file", b"content", True)
sync_folder("unsynced")

# Durable again: a second sync of a file, in the middle and at the end.
fd = os.open(path("new/both-synced"), os.O_WRONLY)
os.pwrite(fd, b"CON", 0)
os.fdatasync(fd)
os.pwrite(fd, b"!", 7)
os.fdatasync(fd)
os.pwrite(fd, b"lost", 8)
os.kill(os.getpid(), 9)
