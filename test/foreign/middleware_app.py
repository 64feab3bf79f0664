"""Debian's auth_token in front of an application that tells what it sees, driven by JSON lines: one reply for each command."""
import io
import json
import logging
import sys

from keystonemiddleware import auth_token

logging.basicConfig(level=logging.CRITICAL)
services = {}
seen = {}


def application(environ, start_response):
    """What a service would know of its caller: every header, and the token as the middleware keeps it."""
    seen["headers"] = {name[5:]: value for name, value in environ.items() if name.startswith("HTTP_")}
    seen["token_info"] = environ.get("keystone.token_info")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


def make(name, options):
    services[name] = auth_token.AuthProtocol(application, options)
    return {}


def call(name, headers, method="GET", path="/v2.1/servers"):
    environ = {
        "REQUEST_METHOD": method, "PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": "", "SERVER_NAME": "service",
        "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1", "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr, "wsgi.version": (1, 0), "wsgi.multithread": False,
        "wsgi.multiprocess": False, "wsgi.run_once": False,
    }
    environ.update({"HTTP_" + header.upper().replace("-", "_"): value for header, value in headers.items()})
    seen.clear()
    reply = {}

    def start_response(status, response_headers, exc_info=None):
        reply.update(status=int(status.split()[0]), www_authenticate=dict(response_headers).get("WWW-Authenticate"))

    body = b"".join(services[name](environ, start_response))
    return dict(reply, body=body.decode(), reached=dict(seen) or None)


commands = {"make": make, "call": call}

for line in sys.stdin:
    command = json.loads(line)
    number, what = command.pop("id"), command.pop("do")
    try:
        said = commands[what](**command)
    except Exception as error:  # The test process must hear of whatever goes wrong here.
        said = {"error": repr(error)}
    print(json.dumps({"id": number, **said}), flush=True)
