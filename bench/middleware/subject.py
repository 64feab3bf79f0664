"""One way for a WSGI service to have its tokens validated, called directly: JSON lines in, JSON lines out.

subject.py WAY OPTIONS   WAY: auth_token, near_cache or nothing; OPTIONS: JSON, of auth_token or {"address": ...}.
"""
import io
import json
import logging
import sys
import threading
import time

logging.basicConfig(level=logging.CRITICAL)


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


def auth_token(options):
    """Debian's middleware, unmodified."""
    from keystonemiddleware import auth_token as middleware

    return middleware.AuthProtocol(app, {name: str(value) for name, value in options.items()})


def near_cache(options):
    """The same for the service: who it is stands in the environment, and who is nobody gets 401."""
    import grpc
    from near_cache import NearCache

    cache = NearCache(options["address"])

    def validating(environ, start_response):
        try:
            answer = cache.validate(environ.get("HTTP_X_AUTH_TOKEN", ""))
        except grpc.RpcError:
            start_response("503 Service Unavailable", [])
            return [b""]
        if not answer.active:
            start_response("401 Unauthorized", [])
            return [b""]
        token = answer.token
        environ["HTTP_X_IDENTITY_STATUS"] = "Confirmed"
        environ["HTTP_X_USER_ID"], environ["HTTP_X_USER_NAME"] = token.user.id, token.user.name
        environ["HTTP_X_PROJECT_ID"], environ["HTTP_X_PROJECT_NAME"] = token.project.id, token.project.name
        environ["HTTP_X_ROLES"] = ",".join(role.name for role in token.roles)
        return app(environ, start_response)

    return validating


WAYS = {"auth_token": auth_token, "near_cache": near_cache, "nothing": lambda options: app}


def call(service, token):
    """Status and seconds of one request."""
    environ = {
        "REQUEST_METHOD": "GET", "PATH_INFO": "/v2.1/servers", "SCRIPT_NAME": "", "QUERY_STRING": "", "SERVER_NAME": "x",
        "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr, "wsgi.version": (1, 0), "wsgi.multithread": False, "wsgi.multiprocess": False,
        "wsgi.run_once": False, "REMOTE_ADDR": "127.0.0.1", "HTTP_X_AUTH_TOKEN": token,
    }
    said = []
    began = time.perf_counter()
    try:
        b"".join(service(environ, lambda status, headers, error=None: said.append(status)))
    except Exception as error:  # Under a WSGI server it would be a 500; what it was belongs to the result.
        said.append("exception %s" % type(error).__name__)
    return said[-1], time.perf_counter() - began


def measure(service, tokens, count):
    """`count` requests, the tokens in turn: the processor time of this process for all of them, and how long each took."""
    took, wrong = [], 0
    before = time.process_time()
    for number in range(count):
        status, seconds = call(service, tokens[number % len(tokens)])
        took.append(seconds * 1e3)
        wrong += not status.startswith("200")
    return {"cpu_ms": (time.process_time() - before) * 1e3, "took_ms": took, "wrong": wrong}


def once(service, token, limit):
    """One request, given up after `limit` seconds: then its thread is lost, as a worker of the service would be."""
    said = []
    thread = threading.Thread(target=lambda: said.append(call(service, token)), daemon=True)
    thread.start()
    thread.join(limit)
    return {"status": said[0][0], "seconds": said[0][1]} if said else {"status": None, "seconds": limit}


def main():
    service = WAYS[sys.argv[1]](json.loads(sys.argv[2]))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "measure":
            answer = measure(service, command["tokens"], command["count"])
        else:
            answer = once(service, command["token"], command["limit"])
        print(json.dumps(answer), flush=True)


main()
