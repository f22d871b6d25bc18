"""What a Python program says to a server whose other client, `main.rs`, is written in Rust. Every step is an assertion."""

import sys

from client import Fault, Session, Some

LIST, DICT, QUEUE = 1, 2, 3
EMPTY, INDEX_OUT_OF_RANGE = 13, 16


def refused(code, call, *arguments):
    try:
        call(*arguments)
    except Fault as fault:
        assert fault.code == code, (fault.code, str(fault))
        return fault
    raise AssertionError("that should have been refused")


def dicts(session):
    scores = session.call("manager.open", None, "scores")
    assert scores.kind == DICT
    assert session.call("dict.get", scores, "Ada") == 3
    assert session.call("dict.get", scores, "nobody") is None
    assert session.call("dict.insert", scores, "小明", 2**100) is None
    assert session.call("dict.insert", scores, "Ada", -4) == 3
    assert list(session.call("dict.items", scores)) == ["Ada", "小明"]
    # A value that is itself nothing is told from a missing one.
    mixed = session.call("manager.open", None, "mixed")
    assert session.call("dict.get", mixed, "nothing") == Some(None)
    values = [1.5, True, b"\x00\xff", [1, [2, {}]], {"k": None}, 300, -1]
    session.call("dict.insert", mixed, "values", values)
    assert session.call("dict.get", mixed, "values") == values
    return scores


def lists(session):
    names = session.call("manager.open", None, "names")
    assert names.kind == LIST
    assert session.call("list.slice", names, 0, None) == ["one", "two"]
    session.call("list.append", names, "three")
    session.call("list.extend", names, ["four", "five"])
    assert session.call("list.get", names, -1) == "five"
    fault = refused(INDEX_OUT_OF_RANGE, session.call, "list.get", names, 5)
    assert str(fault), "a fault says what happened"
    # An object inside an object: the dict keeps it when this session lets go.
    inner = session.call("manager.create", None, LIST, None, [1, 2, 3])
    outer = session.call("manager.open", None, "outer")
    session.call("dict.insert", outer, "inner", inner)
    session.release(inner)
    return names


def queues(session, path):
    work = session.call("manager.open", None, "work")
    assert work.kind == QUEUE
    for item in range(5):
        session.call("queue.put", work, item, None)
    assert session.call("queue.get", work, None, confirm=True) == 0
    assert session.call("queue.get", work, None, confirm=False) == 1
    # What was declined is first again, and in its place.
    assert session.call("queue.get_many", work, 2, None, confirm=True) == [1, 2]
    other = Session(path)
    theirs = other.call("manager.open", None, "work")
    assert other.call("queue.get", theirs, 0) == 3  # and no confirm
    other.close()
    # The session that ended had not confirmed: the item comes back, though perhaps after the one behind it has gone.
    wait = 10_000_000_000
    last = [session.call("queue.get", work, wait, confirm=True) for _ in range(2)]
    assert sorted(last) == [3, 4], last
    refused(EMPTY, session.call, "queue.get", work, 0)
    session.call("queue.put", work, "again", None)
    delivery, times, item = session.call("queue.receive", work, None)
    assert (times, item) == (0, "again")
    session.call("queue.ack", work, delivery)
    assert session.call("queue.qsize", work) == 0


def main():
    path = sys.argv[1]
    session = Session(path)
    scores = dicts(session)
    names = lists(session)
    queues(session, path)
    session.release(scores)
    session.release(names)
    session.close()
    print("all said")


if __name__ == "__main__":
    main()
