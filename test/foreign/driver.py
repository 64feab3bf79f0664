"""Drives the near cache by JSON lines: address and filter as arguments, commands on stdin, one reply for each on stdout."""
import json
import sys
import threading

from near_cache import NearCache
from sidegate.v1 import token_service_pb2 as api


def main():
    address, watched = sys.argv[1], json.loads(sys.argv[2])
    cache = NearCache(address, api.WatchFilter(**watched) if watched is not None else None)
    writing = threading.Lock()

    def reply(number, **said):
        with writing:
            print(json.dumps({"id": number, **said}), flush=True)

    def validate(number, token):
        try:
            reply(number, active=cache.validate(token).active)
        except Exception as error:  # The test process must hear of whatever goes wrong here.
            reply(number, error=repr(error))

    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "validate":
            threading.Thread(target=validate, args=(command["id"], command["token"]), daemon=True).start()
        else:
            with cache.lock:
                seen = cache.events
            reply(command["id"], events=seen)


main()
