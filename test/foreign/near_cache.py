"""A near cache in Python, as docs/watch-protocol.md tells it: drop and ask. It knows no matching rule."""
import collections
import hashlib
import random
import threading
import time

import grpc
from sidegate.v1 import token_service_pb2 as api
from sidegate.v1 import token_service_pb2_grpc as rpc

HISTORY, STREAM_SECONDS = 4096, 600
Kept = collections.namedtuple("Kept", "answer tags until")


def seconds(message):
    return message.seconds + message.nanos / 1e9


class NearCache:
    def __init__(self, address, watch_filter=None, max_entries=10_000):
        self.stub = rpc.TokenServiceStub(grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]))
        self.filter, self.max_entries = watch_filter or api.WatchFilter(), max_entries
        self.kept, self.history, self.since = collections.OrderedDict(), collections.deque(), 0
        self.journal, self.revision, self.epoch = "", 0, 0  # W1: where we are; how often everything was forgotten
        self.lock, self.opened, self.last, self.events = threading.Lock(), None, None, 0
        threading.Thread(target=self.follow, daemon=True).start()

    def validate(self, token):
        """The answer: from memory where that is proven, else the sidecar's. Raises grpc.RpcError where there is none."""
        key = hashlib.sha256(b"near cache " + token.encode()).digest()  # Not of the token alone: that may be its handle.
        with self.lock:
            kept, asked_at, epoch = self.kept.get(key), time.monotonic(), self.epoch
            if kept and asked_at < kept.until and self.proven(asked_at, kept.answer.token.issuer):
                self.kept.move_to_end(key)
                return kept.answer
        answer = self.stub.Validate(api.ValidateRequest(token=token, include=api.Include(tags=True)), timeout=5)
        with self.lock:
            if epoch == self.epoch and self.may_keep(answer, frozenset(answer.tags)):
                # W15: max_age is the only permission, and runs from the question.
                self.kept[key] = Kept(answer, frozenset(answer.tags), asked_at + seconds(answer.max_age))
                self.kept.move_to_end(key)
                if len(self.kept) > self.max_entries:
                    self.kept.popitem(last=False)
        return answer

    def may_keep(self, answer, tags):
        at, token, watched = answer.as_of, answer.token, self.filter
        if not answer.active or answer.reason or answer.degraded or not tags or seconds(answer.max_age) <= 0:
            return False
        if at.journal != self.journal or at.revision < self.since:  # W9
            return False
        if any(revision > at.revision and wanted <= tags for revision, wanted in self.history):
            return False
        users = {token.user.id, token.trust.trustor_user_id, token.trust.trustee_user_id} - {""}
        return (  # W11: every invalidation that may concern the token passes the filter.
            (not watched.issuers or token.issuer in watched.issuers)
            and (not watched.user_ids or (token.user.id and users <= set(watched.user_ids)))
            and (not watched.project_ids or token.project.id in watched.project_ids)
        )

    def proven(self, now, issuer):
        """W8, judged at each hit."""
        opened, last = self.opened, self.last
        if not opened or not last or last.degraded or issuer in last.degraded_issuers or last.cursor.revision < self.must_reach:
            return False
        if not last.HasField("server_time") or not last.HasField("proven_through"):
            return False
        interval, lifetime, server_now = seconds(opened.checkpoint_interval), seconds(opened.proof_lifetime), now - self.smallest
        age, proof_age = server_now - seconds(last.server_time), server_now - seconds(last.proven_through)
        return interval > 0 < lifetime and age <= 3 * interval and proof_age <= lifetime

    def follow(self):
        failures = 0
        while True:
            after = api.Cursor(journal=self.journal, revision=self.revision) if self.journal else None
            self.subscribed_at, self.smallest = time.monotonic(), float("inf")
            try:
                # W8 wants the smallest delay of the last minutes: a stream that lives no longer needs no window.
                for message in self.stub.Watch(api.WatchRequest(after=after, filter=self.filter), timeout=STREAM_SECONDS):
                    with self.lock:
                        self.apply(message, message.WhichOneof("message"), time.monotonic())
                    failures = 0
            except grpc.RpcError:
                failures += 1  # Whatever the reason: the stream is gone, and it is opened again after our cursor.
            with self.lock:
                self.opened, self.last, self.events = None, None, self.events + 1
            time.sleep(min(10, 0.05 * 2 ** min(failures, 10)) * random.uniform(0.5, 1))

    def apply(self, message, kind, now):
        if kind is None:
            return  # W14: a case that is newer than this file.
        self.events += len(message.batch.invalidations) if kind == "batch" else 1
        if kind == "opened":
            self.at_journal(message.opened.latest)
            self.opened, self.must_reach = message.opened, message.opened.latest.revision
        elif kind == "batch":
            for invalidation in message.batch.invalidations:
                self.invalidate(invalidation.cursor, frozenset(invalidation.tags))
        elif kind == "checkpoint":
            self.at_journal(message.checkpoint.cursor)
            self.revision, self.last = max(self.revision, message.checkpoint.cursor.revision), message.checkpoint
            # The first one was written after we subscribed: however late it is read, this delay is not too great.
            read_at = now if self.smallest < float("inf") else self.subscribed_at
            if self.last.HasField("server_time"):
                self.smallest = min(self.smallest, read_at - seconds(self.last.server_time))
        else:
            self.forget(message.reset.cursor)
            self.last, self.must_reach = None, message.reset.cursor.revision

    def invalidate(self, cursor, wanted):
        """W14: whatever its effect, what has every one of its tags is dropped; no tags: everything."""
        self.at_journal(cursor)
        for key in [key for key, kept in self.kept.items() if wanted <= kept.tags and kept.answer.as_of.revision < cursor.revision]:
            del self.kept[key]
        if cursor.revision >= self.revision:
            self.revision = cursor.revision
            self.history.append((cursor.revision, wanted))
            if len(self.history) > HISTORY:
                self.since = max(self.since, self.history.popleft()[0])

    def at_journal(self, cursor):
        if cursor.journal != self.journal:
            self.forget(cursor)

    def forget(self, cursor):
        self.kept.clear()
        self.history.clear()
        self.journal, self.revision, self.since, self.epoch = cursor.journal, cursor.revision, cursor.revision, self.epoch + 1
