"""A small HTTP/2 client over plain TCP with prior knowledge: one stream at a time, frame by frame."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events

SECONDS = 30


@dataclass
class Reply:
    """What came back on one stream; ``ended`` by "end" (the stream's own), "reset" or "closed" (the connection)."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: str = ""


class Http2:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.flush()
        self._replies: dict[int, Reply] = {}

    def flush(self) -> None:
        """Send what is ready to be sent."""
        self.sock.sendall(self.h2.data_to_send())

    def begin(self, method: str, path: str, headers: Mapping[str, str], end: bool = False) -> int:
        """Send the headers of a request; returns its stream."""
        stream = int(self.h2.get_next_available_stream_id())
        pseudo = {":method": method, ":path": path, ":scheme": "http", ":authority": "x"}
        self.h2.send_headers(stream, [*pseudo.items(), *headers.items()], end_stream=end)
        self.flush()
        self._replies[stream] = Reply()
        return stream

    def data(self, stream: int, body: bytes, end: bool = False) -> bool:
        """Send a body, or a part of one, as the other side gives room; False when it wants no more of it."""
        at = 0
        while not self._replies[stream].ended:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(body) - at)
            if room or at == len(body):
                self.h2.send_data(stream, body[at:at + room], end_stream=end and at + room == len(body))
                self.flush()
                at += room
            else:
                self._receive()
            if at == len(body):
                return True
        return False

    def reset(self, stream: int) -> None:
        """Give a request up, as a browser does for a page that is left."""
        self.h2.reset_stream(stream, 8)  # CANCEL
        self.flush()

    def reply(self, stream: int) -> Reply:
        """The answer, once it is whole or will never be."""
        while not self._replies[stream].ended:
            self._receive()
        return self._replies[stream]

    def post(self, path: str, headers: Mapping[str, str], body: bytes, length: bool = False) -> Reply:
        """A whole request; with ``length`` it has a Content-Length."""
        size = {"content-length": str(len(body))} if length else {}
        stream = self.begin("POST", path, {**headers, **size})
        self.data(stream, body, end=True)
        return self.reply(stream)

    def close(self) -> None:
        """End the connection."""
        self.sock.close()

    def _receive(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            for reply in self._replies.values():
                reply.ended = reply.ended or "closed"
            return
        for event in self.h2.receive_data(data):
            self._take(event)
        self.flush()

    def _take(self, event: h2.events.Event) -> None:
        reply = self._replies.get(getattr(event, "stream_id", 0) or 0, Reply())
        if isinstance(event, h2.events.ResponseReceived):
            headers = {str(name): str(value) for name, value in event.headers}
            reply.status, reply.headers = int(headers[":status"]), headers
        elif isinstance(event, h2.events.DataReceived):
            reply.body += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            reply.ended = reply.ended or "end"
        elif isinstance(event, h2.events.StreamReset):
            reply.ended = reply.ended or "reset"
