"""Keystone's WSGI application for uwsgi, with one writer at a time.

Keystone opens a deferred transaction, reads, then writes. On SQLite that fails at once ("database is locked") when another process
has written in between; the real databases it is made for wait. So here whatever may write waits its turn, across processes.

SQLite enforces no foreign key unless it is told to, as those others do: what is deleted would leave rows behind, and the next thing
that gets its number would not be made (409).

And it can be made to take its time after a message has left: what a busy machine does now and then at that point.
"""
import fcntl
import os
import time

from keystone.server.wsgi import initialize_public_application
from oslo_messaging import Notifier
from sqlalchemy import event
from sqlalchemy.engine import Engine

run = os.path.join(os.environ['LAB_DIR'], 'run')
turn, lag = os.path.join(run, 'writer.lock'), os.path.join(run, 'lag-after-messages')
send = Notifier.info


@event.listens_for(Engine, 'connect')
def enforce_foreign_keys(connection, _):
    connection.execute('PRAGMA foreign_keys = ON')


def lag_seconds():
    try:
        with open(lag) as seconds:
            return float(seconds.read())
    except FileNotFoundError:
        return 0


def send_and_lag(notifier, *message):
    send(notifier, *message)
    sent = time.monotonic()
    # Whoever has seen enough ends it.
    while time.monotonic() - sent < lag_seconds():
        time.sleep(0.01)


Notifier.info = send_and_lag
keystone = initialize_public_application()


def application(environ, start_response):
    method, path = environ['REQUEST_METHOD'], environ.get('PATH_INFO', '')
    # A login writes nothing, and tests send many at once.
    if method in ('GET', 'HEAD') or (method == 'POST' and path == '/v3/auth/tokens'):
        return keystone(environ, start_response)
    with open(turn, 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return list(keystone(environ, start_response))
