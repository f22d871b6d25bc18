"""A byproxy client in plain Python, written from proto/README.md alone."""

import itertools
import socket
import struct
from collections import namedtuple

OPERATIONS = {
    "manager.create": 1, "manager.open": 2, "list.append": 256, "list.extend": 257, "list.get": 268, "list.slice": 271,
    "dict.insert": 512, "dict.get": 513, "dict.items": 520, "queue.put": 768, "queue.get": 770, "queue.get_many": 771,
    "queue.receive": 772, "queue.ack": 773, "queue.qsize": 775,
}
Token = namedtuple("Token", "instance object kind")
Some = namedtuple("Some", "value")


class Fault(Exception):
    """The server said no."""

    def __init__(self, code, message, detail):
        super().__init__(message)
        self.code, self.detail = code, detail


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


def sized(data):
    return varint(len(data)) + data


def encode(value):
    if value is None:
        return b"\0"
    if isinstance(value, Some):
        return b"\1" + encode(value.value)
    if isinstance(value, bool):
        return b"\2" + bytes([value])
    if isinstance(value, int):
        return b"\3" + bytes([value < 0]) + varint(abs(value))
    if isinstance(value, float):
        return b"\4" + struct.pack("<d", value)
    if isinstance(value, str):
        return b"\5" + sized(value.encode())
    if isinstance(value, bytes):
        return b"\6" + sized(value)
    if isinstance(value, Token):
        return b"\11" + varint(value.instance) + varint(value.object) + bytes([value.kind])
    if isinstance(value, dict):
        return b"\10" + varint(len(value)) + b"".join(encode(k) + encode(v) for k, v in value.items())
    return b"\7" + varint(len(value)) + b"".join(map(encode, value))


class Reader:
    """Takes fields from the front of a body."""

    def __init__(self, body):
        self.body, self.at = body, 0

    def take(self, count):
        self.at += count
        return self.body[self.at - count:self.at]

    def byte(self):
        return self.take(1)[0]

    def varint(self):
        byte = self.byte()
        return byte if byte < 128 else (byte & 127) + 128 * self.varint()

    def sized(self):
        return self.take(self.varint())

    def value(self):
        return [
            lambda: None,
            lambda: Some(self.value()),
            lambda: bool(self.byte()),
            lambda: (-1 if self.byte() else 1) * self.varint(),
            lambda: struct.unpack("<d", self.take(8))[0],
            lambda: self.sized().decode(),
            self.sized,
            lambda: [self.value() for _ in range(self.varint())],
            lambda: {self.value(): self.value() for _ in range(self.varint())},
            lambda: Token(self.varint(), self.varint(), self.byte()),
        ][self.byte()]()


class Session:
    """One session with one lane."""

    def __init__(self, path):
        self.path, self.numbers = path, itertools.count(1)
        self.control, number, secret = self.connect(varint(0))
        self.lane, _, _ = self.connect(varint(1) + varint(number) + varint(secret))

    def connect(self, purpose):
        stream = socket.socket(socket.AF_UNIX)
        stream.connect(self.path)
        self.send(stream, b"byproxy\0" + varint(1) + purpose + sized(b"client.py") + sized(b""))
        welcome = self.receive(stream)
        if welcome.byte() != 0:
            raise self.fault(welcome)
        _version, _instance = welcome.varint(), welcome.varint()
        return stream, welcome.varint(), welcome.varint()

    @staticmethod
    def send(stream, body):
        stream.sendall(struct.pack("<I", len(body)) + body)

    @staticmethod
    def receive(stream):
        length, = struct.unpack("<I", stream.recv(4, socket.MSG_WAITALL))
        return Reader(stream.recv(length, socket.MSG_WAITALL))

    @staticmethod
    def fault(reply):
        _number, code, message = reply.varint(), reply.varint(), reply.sized().decode()
        return Fault(code, message, reply.value())

    def call(self, operation, target, *arguments, confirm=None):
        """Makes a call. With `confirm`, takes what it delivered (true) or gives it back (false)."""
        number = next(self.numbers)
        code, target = OPERATIONS[operation], target.object if target else 0
        self.send(self.lane, b"\1" + varint(number) + varint(code) + varint(target) + encode(arguments))
        reply = self.receive(self.lane)
        if reply.byte() == 2:
            raise self.fault(reply)
        assert reply.varint() == number
        handed = [reply.varint() for _ in range(reply.varint())]
        result = reply.value()
        assert handed == ([result.object] if isinstance(result, Token) else []), "these calls hand over what they return"
        if confirm is not None:
            self.send(self.lane, (b"\2" if confirm else b"\3") + varint(number))
        return result

    def release(self, token):
        self.send(self.lane, b"\4" + varint(1) + varint(token.object) + varint(1))

    def close(self):
        self.lane.close()
        self.control.close()
