"""A near cache in Python, as docs/watch-protocol.md tells it: drop and ask. It knows no matching rule."""
import collections
import hashlib
import random
import threading
import time

import grpc
from sidegate.v1 import token_service_pb2 as api
from sidegate.v1 import token_service_pb2_grpc as rpc

NEVER = float("inf")
HISTORY, WINDOW = 4096, 300.0
Kept = collections.namedtuple("Kept", "answer tags until")


def seconds(message):
    return message.seconds + message.nanos / 1e9


class NearCache:
    def __init__(self, address, watch_filter=None, max_entries=10_000):
        self.stub = rpc.TokenServiceStub(grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]))
        self.filter, self.max_entries = watch_filter, max_entries
        self.lock, self.events = threading.Lock(), 0
        self.journal, self.revision, self.epoch = None, 0, 0  # W1: where we are; how often everything was forgotten
        self.kept, self.history, self.since = collections.OrderedDict(), collections.deque(), 0
        self.opened = self.last = None
        threading.Thread(target=self.follow, daemon=True).start()

    def validate(self, token):
        """The answer: from memory where that is proven, else the sidecar's. Raises grpc.RpcError where there is none."""
        key = hashlib.sha256(token.encode()).digest()
        with self.lock:
            kept, asked_at, epoch = self.kept.get(key), time.monotonic(), self.epoch
            if kept and asked_at < kept.until and self.proven(asked_at, kept.answer.token.issuer):
                self.kept.move_to_end(key)
                return kept.answer
        answer = self.stub.Validate(api.ValidateRequest(token=token, include=api.Include(tags=True)), timeout=5)
        with self.lock:
            if self.may_keep(answer, frozenset(answer.tags), epoch):
                # W15: max_age is the only permission, and runs from the question.
                self.kept[key] = Kept(answer, frozenset(answer.tags), asked_at + seconds(answer.max_age))
                self.kept.move_to_end(key)
                if len(self.kept) > self.max_entries:
                    self.kept.popitem(last=False)
        return answer

    def may_keep(self, answer, tags, epoch):
        if not answer.active or answer.reason or answer.degraded or not tags or seconds(answer.max_age) <= 0:
            return False
        at = answer.as_of
        if epoch != self.epoch or at.journal != self.journal or at.revision < self.since:  # W9
            return False
        return not any(rev > at.revision and wanted <= tags for rev, wanted in self.history) and self.inside(answer.token)

    def inside(self, token):
        """W11: every invalidation that may concern the token passes the filter."""
        watched = self.filter or api.WatchFilter()
        users = {token.user.id, token.trust.trustor_user_id, token.trust.trustee_user_id} - {""}
        return (
            (not watched.issuers or token.issuer in watched.issuers)
            and (not watched.user_ids or (bool(users) and users <= set(watched.user_ids)))
            and (not watched.project_ids or token.project.id in watched.project_ids)
        )

    def proven(self, now, issuer):
        """W8, judged at each hit."""
        opened, last = self.opened, self.last
        if not opened or not last or last.degraded or issuer in last.degraded_issuers or last.cursor.revision < self.must_reach:
            return False
        if not last.HasField("server_time") or not last.HasField("proven_through"):
            return False
        interval, lifetime = seconds(opened.checkpoint_interval), seconds(opened.proof_lifetime)
        server_now = now - min(self.smallest, self.smallest_before, self.bound)
        return (
            interval > 0 < lifetime
            and server_now - seconds(last.server_time) <= 3 * interval
            and server_now - seconds(last.proven_through) <= lifetime
        )

    def follow(self):
        failures = 0
        while True:
            with self.lock:
                after = api.Cursor(journal=self.journal, revision=self.revision) if self.journal else None
                self.opened = self.last = self.read_at = None
                self.smallest = self.smallest_before = self.bound = NEVER
                self.lived, self.window_ends, self.subscribed_at = 0.0, WINDOW, time.monotonic()
            try:
                for message in self.stub.Watch(api.WatchRequest(after=after, filter=self.filter)):
                    with self.lock:
                        self.apply(message)
                    failures = 0
            except grpc.RpcError:
                pass  # Whatever the reason: the stream is gone, nothing is proven, and it is opened again after our cursor.
            with self.lock:
                self.opened = self.last = None
                self.events += 1
            time.sleep(min(10, 0.1 * 2 ** min(failures, 10)) * random.uniform(0.5, 1))
            failures += 1

    def apply(self, message):
        kind = message.WhichOneof("message")
        if kind == "opened":
            if message.opened.latest.journal != self.journal:
                self.forget(message.opened.latest)
            self.opened, self.must_reach = message.opened, message.opened.latest.revision
        elif kind == "batch":
            for invalidation in message.batch.invalidations:
                self.invalidate(invalidation.cursor, frozenset(invalidation.tags))
        elif kind == "checkpoint":
            if message.checkpoint.cursor.journal != self.journal:
                self.forget(message.checkpoint.cursor)
            self.revision = max(self.revision, message.checkpoint.cursor.revision)
            self.checkpoint(message.checkpoint, time.monotonic())
        elif kind == "reset":
            self.forget(message.reset.cursor)
            self.last, self.must_reach = None, message.reset.cursor.revision
        else:
            return  # W14: a case that is newer than this file.
        self.events += len(message.batch.invalidations) if kind == "batch" else 1

    def invalidate(self, cursor, wanted):
        """W14: whatever its effect, what has every one of its tags is dropped; no tags: everything."""
        if cursor.journal != self.journal:
            return self.forget(cursor)
        for key in [k for k, kept in self.kept.items() if wanted <= kept.tags and kept.answer.as_of.revision < cursor.revision]:
            del self.kept[key]
        if cursor.revision >= self.revision:
            self.revision = cursor.revision
            self.history.append((cursor.revision, wanted))
            if len(self.history) > HISTORY:
                self.since = max(self.since, self.history.popleft()[0])

    def forget(self, cursor):
        self.kept.clear()
        self.history.clear()
        self.journal, self.revision, self.since, self.epoch = cursor.journal, cursor.revision, cursor.revision, self.epoch + 1

    def checkpoint(self, last, now):
        """Maps the sidecar's clock to ours by the smallest delay; the constant between the clocks cancels out."""
        self.last, interval, delay = last, seconds(self.opened.checkpoint_interval), now - seconds(last.server_time)
        if self.read_at is None:
            self.bound = self.subscribed_at - seconds(last.server_time)  # It was written after we subscribed, however late we read it.
        else:
            self.lived += min(now - self.read_at, 3 * interval)  # A stop counts little, a burst nothing: old delays must outlive both.
        self.read_at = now
        if self.lived > 10 * interval:
            self.bound = NEVER
        if self.lived > self.window_ends:
            self.window_ends, self.smallest_before, self.smallest = self.lived + WINDOW, self.smallest, NEVER
        self.smallest = min(self.smallest, delay)
