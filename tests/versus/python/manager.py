"""CPython's managed objects, as the benchmark drives them.

`manager.py serve PATH` hosts the objects. `manager.py client PATH WORK THREADS SECONDS` says `ready`, waits for a line, works for that long
and prints how often and in how many nanoseconds, in a race for each line. The harness does the same with every other side.
"""

import multiprocessing
import sys
import threading
import time
from multiprocessing.managers import DictProxy, ListProxy, SyncManager
from queue import Queue

ENTRIES = 1000
KEY = "key-%06d"
SHARED_DICT = {KEY % i: i for i in range(ENTRIES)}
SHARED_LIST = list(range(ENTRIES))
SHARED_QUEUE = Queue(1024)


class Manager(SyncManager):
    """A manager whose objects unrelated processes can find."""


Manager.register("shared_dict", callable=lambda: SHARED_DICT, proxytype=DictProxy)
Manager.register("shared_list", callable=lambda: SHARED_LIST, proxytype=ListProxy)
Manager.register("shared_queue", callable=lambda: SHARED_QUEUE)


def serve(path):
    server = Manager(address=path, authkey=b"versus").get_server()
    threading.Thread(target=lambda: (sys.stdin.read(), server.stop_event.set()), daemon=True).start()
    print("ready", flush=True)
    server.serve_forever()


def nothing():
    pass


def step(manager, work):
    """One operation of this work, as a function of how often it ran before."""
    if work == "get":
        shared = manager.shared_dict()
        return lambda i: shared.get(KEY % (i % ENTRIES))
    if work == "insert":
        shared = manager.shared_dict()
        return lambda i: shared.__setitem__(KEY % (i % ENTRIES), i)
    if work == "index":
        shared = manager.shared_list()
        return lambda i: shared[i % ENTRIES]
    if work == "append":
        own = manager.list()
        return own.append
    if work == "queue-pair":
        queue = manager.Queue()
        return lambda i: (queue.put(i), queue.get())
    if work == "lock-pair":
        lock = manager.Lock()
        return lambda i: (lock.acquire(), lock.release())
    raise SystemExit("no such work: " + work)


def await_go():
    print("ready", flush=True)
    return sys.stdin.readline()


def report(count, start):
    print(count, time.monotonic_ns() - start, flush=True)


def compete(path, work, threads, seconds):
    """As often as it is told to, runs one step after the other in each thread until the time is over."""
    manager = connect(path)
    counts = [0] * threads
    stop = threading.Event()
    meet = threading.Barrier(threads + 1)

    def loop(me):
        once = step(manager, work)
        once(0)
        meet.wait()
        while True:
            meet.wait()
            i = 0
            while not stop.is_set():
                once(i)
                i += 1
            counts[me] = i
            meet.wait()

    for i in range(threads):
        threading.Thread(target=loop, args=(i,), daemon=True).start()
    meet.wait()
    print("ready", flush=True)
    for _ in sys.stdin:
        stop.clear()
        start = time.monotonic_ns()
        meet.wait()
        time.sleep(seconds)
        stop.set()
        meet.wait()
        report(sum(counts), start)


def flow(path, work, count):
    """Puts or gets so many items."""
    queue = connect(path).shared_queue()
    await_go()
    start = time.monotonic_ns()
    for i in range(count):
        if work == "produce":
            queue.put(i)
        else:
            queue.get()
    report(count, start)


def starts(work, seconds):
    """Starts managers or processes, counting only the time the starts take."""
    await_go()
    count, spent, end = 0, 0, time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.monotonic_ns()
        if work == "manager-start":
            manager = multiprocessing.Manager()
            spent += time.monotonic_ns() - start
            manager.shutdown()
        else:
            process = multiprocessing.Process(target=nothing)
            process.start()
            process.join()
            spent += time.monotonic_ns() - start
        count += 1
    print(count, spent, flush=True)


def direct_laps(value, lock, go, stop, counts, place, work):
    """Operations on a value or a lock in shared memory, until told to stop."""
    while not go.value:
        pass
    count = 0
    while not stop.value:
        if work == "value-get":
            for _ in range(1000):
                value.value
        elif work == "value-set":
            for i in range(1000):
                value.value = i
        elif work == "value-add":
            for _ in range(1000):
                with value.get_lock():
                    value.value += 1
        else:
            for _ in range(1000):
                with lock:
                    pass
        count += 1000
    counts[place] = count


def direct(work, processes, seconds):
    """So many processes on one value or lock."""
    value, lock = multiprocessing.Value("q", 0), multiprocessing.Lock()
    go, stop = multiprocessing.RawValue("b", 0), multiprocessing.RawValue("b", 0)
    counts = multiprocessing.RawArray("q", processes)
    arguments = [(value, lock, go, stop, counts, place, work) for place in range(processes)]
    partners = [multiprocessing.Process(target=direct_laps, args=arguments[place]) for place in range(1, processes)]
    for partner in partners:
        partner.start()
    await_go()
    start = time.monotonic_ns()
    go.value = 1
    threading.Timer(seconds, lambda: setattr(stop, "value", 1)).start()
    direct_laps(*arguments[0])
    for partner in partners:
        partner.join()
    report(sum(counts), start)


def hold(path, work, count):
    """Keeps a list of so many ints, or so many connections, until told to go."""
    if work == "hold-list":
        held = connect(path).list(range(count))
    else:
        # Every thread of a process has its own connection to the server, and the server a thread for it.
        held = connect(path).shared_dict()
        barrier = threading.Barrier(count + 1)
        gone = threading.Event()
        threading.stack_size(256 * 1024)
        for _ in range(count):
            threading.Thread(target=lambda: (held.get("x"), barrier.wait(), gone.wait()), daemon=True).start()
        barrier.wait()
    await_go()


def connect(path):
    manager = Manager(address=path, authkey=b"versus")
    manager.connect()
    return manager


def main():
    role, path = sys.argv[1], sys.argv[2]
    if role == "serve":
        return serve(path)
    work, threads, seconds = sys.argv[3], int(sys.argv[4]), float(sys.argv[5])
    if work in ("produce", "consume"):
        return flow(path, work, threads)
    if work in ("manager-start", "process-start"):
        return starts(work, seconds)
    if work in ("value-get", "value-set", "value-add", "direct-lock-pair"):
        return direct(work, threads, seconds)
    if work in ("hold-list", "hold-connections"):
        return hold(path, work, threads)
    return compete(path, work, threads, seconds)


if __name__ == "__main__":
    main()
