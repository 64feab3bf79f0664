"""Keystone's WSGI application for uwsgi, with one writer at a time.

Keystone opens a deferred transaction, reads, then writes. On SQLite that fails at once ("database is locked") when another process
has written in between; the real databases it is made for wait. So here whatever may write waits its turn, across processes.
"""
import fcntl
import os

from keystone.server.wsgi import initialize_public_application

keystone = initialize_public_application()
turn = os.path.join(os.environ['LAB_DIR'], 'run', 'writer.lock')


def application(environ, start_response):
    method, path = environ['REQUEST_METHOD'], environ.get('PATH_INFO', '')
    # A login writes nothing, and tests send many at once.
    if method in ('GET', 'HEAD') or (method == 'POST' and path == '/v3/auth/tokens'):
        return keystone(environ, start_response)
    with open(turn, 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return list(keystone(environ, start_response))
