"""A store that speaks S3 (moto's server), behind a proxy that does to its answers what networks and stores do."""

import contextlib
import http.client
import http.server
import socket
import struct
import threading
import time

import boto3
from moto.server import ThreadedMotoServer


class Store:
    """One bucket, `models`, and what goes wrong with requests to it."""

    def __init__(self, port):
        self.port = port
        self.faults = []
        self.requests = []
        self.lock = threading.Lock()

    def fault(self, kind, when=lambda method, path: True, times=1, action=None):
        """The next `times` requests for which `when` is true end like this. See `Proxy.forward` for the kinds."""
        self.faults.append([kind, when, times, action])

    def due(self, method, path):
        with self.lock:
            self.requests.append((method, path))
            for fault in self.faults:
                if fault[2] > 0 and fault[1](method, path):
                    fault[2] -= 1
                    return fault[0], fault[3]
        return None, None

    def pending(self):
        """Faults that did not happen."""
        return [fault for fault in self.faults if 0 < fault[2] < 10**6]


class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store = None

    def log_message(self, *_):
        pass

    def forward(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        kind, action = self.store.due(self.command, self.path)
        if action:
            action()
        if kind == "reset":
            # Closed with unsent data thrown away, the other side gets a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        if isinstance(kind, int):
            text = f"<Error><Code>Fault{kind}</Code><Message>as the test wants</Message></Error>".encode()
            self.send_response(kind)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
            return
        if kind == "silent":
            time.sleep(4)
            self.close_connection = True
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.store.port)
        upstream.request(self.command, self.path, body, {k: v for k, v in self.headers.items() if k.lower() != "host"})
        answer = upstream.getresponse()
        content = answer.read()
        self.send_response_only(answer.status, answer.reason)
        for key, value in answer.getheaders():
            if key.lower() not in ("transfer-encoding", "connection"):
                if not (key.lower() == "content-length" and self.command != "HEAD"):
                    self.send_header(key, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if kind == "truncate":
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        elif kind == "slow":
            for at in range(0, len(content), 1 << 14):
                self.wfile.write(content[at : at + (1 << 14)])
                time.sleep(0.002)
        else:
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward


class Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """Clients that are killed leave in the middle."""


@contextlib.contextmanager
def running():
    """The server and the proxy. Gives the store, and the environment variables with which programs reach it."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    port = moto.get_host_and_port()[1]
    store = Store(port)
    handler = type("Handler", (Proxy,), {"store": store})
    proxy = Quiet(("127.0.0.1", 0), handler)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    store.client = boto3.client(
        "s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
        aws_access_key_id="a", aws_secret_access_key="b",
    )
    store.client.create_bucket(Bucket="models")
    store.environment = {
        "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.server_port}",
    }
    try:
        yield store
    finally:
        proxy.shutdown()
        proxy.server_close()
        moto.stop()


def contents(store, prefix=""):
    """Name and bytes of every visible object."""
    found = store.client.list_objects_v2(Bucket="models", Prefix=prefix).get("Contents", [])
    read = lambda key: store.client.get_object(Bucket="models", Key=key)["Body"].read()  # noqa: E731
    return {item["Key"]: read(item["Key"]) for item in found}
