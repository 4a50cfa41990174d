"""psycopg2 against the change stream: LISTEN on a private channel, polling,
resuming after a lost connection, and tokens that end or are renewed.

Needs PGHOST, PGPORT and a superuser in PGUSER; makes and drops a database of
its own.  Waits for what has to come, never for a time alone.
"""

import json
import select
import time
import unittest
import uuid

import psycopg2
import psycopg2.extras

DATABASE = "plinth_clients_python"
PATIENCE = 60  # seconds until something that has to come counts as missing


def connect(user=None, database=DATABASE):
    connection = psycopg2.connect(dbname=database, **({"user": user} if user else {}))
    connection.autocommit = True
    return connection


def rows(connection, text, values=None):
    with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        cursor.execute(text, values)
        return cursor.fetchall() if cursor.description else []


def row(connection, text, values=None):
    return rows(connection, text, values)[0]


def setUpModule():
    global admin
    root = connect(database="postgres")
    rows(root, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    rows(root, f"CREATE DATABASE {DATABASE}")
    root.close()
    admin = connect()
    rows(admin, "CREATE EXTENSION plinth CASCADE")
    rows(admin, "SELECT plinth.install('realtime')")
    rows(admin, "UPDATE plinth.rate_limit_tiers SET requests = 100000")
    rows(admin, """
        CREATE TABLE public.note (id integer PRIMARY KEY, owner_id uuid NOT NULL, body text);
        ALTER TABLE public.note ENABLE ROW LEVEL SECURITY;
        ALTER TABLE public.note REPLICA IDENTITY FULL;
        CREATE POLICY own ON public.note FOR SELECT TO authenticated USING (owner_id = (SELECT auth.uid()));
        GRANT SELECT ON public.note TO authenticated;
        ALTER PUBLICATION plinth_realtime ADD TABLE public.note""")


def tearDownModule():
    admin.close()
    root = connect(database="postgres")
    rows(root, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    root.close()


class User:
    """Somebody with an account, a session, and a connection that is theirs."""

    def __init__(self):
        self.email = f"{uuid.uuid4().hex}@example.com"
        password = "a long enough sentence"
        self.id = row(admin, "SELECT auth.admin_create_user(%s, %s) ->> 'id' AS id", (self.email, password))["id"]
        anyone = connect("authenticator")
        rows(anyone, "SET ROLE anon")
        self.session = row(anyone, "SELECT auth.sign_in_with_password(%s, %s) AS s", (self.email, password))["s"]
        anyone.close()
        self.connect()

    def connect(self):
        self.connection = connect("authenticator")
        rows(self.connection, "SET ROLE authenticated")
        # For the session and not the transaction: this connection is no pool's.
        rows(self.connection, "SELECT auth.authenticate(%s, false)", (self.session["access_token"],))

    def subscribe(self, *arguments):
        marks = ", ".join(["%s"] * len(arguments))
        self.subscription = row(self.connection, f"SELECT * FROM realtime.subscribe({marks})", arguments)
        return self.subscription

    def listen(self):
        rows(self.connection, f'LISTEN "{self.subscription["listen_channel"]}"')

    def notified(self, count):
        """That many notifications, as objects, and no more that are there."""
        came = []
        deadline = time.monotonic() + PATIENCE
        while len(came) < count:
            if not select.select([self.connection], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"{len(came)} of {count} notifications came: {came}")
            self.connection.poll()
            while self.connection.notifies:
                notification = self.connection.notifies.pop(0)
                assert notification.channel == self.subscription["listen_channel"]
                came.append(json.loads(notification.payload))
        return came

    def poll(self, after, count, using=None):
        """At least that many messages after a number."""
        deadline = time.monotonic() + PATIENCE
        while True:
            messages = rows(using or self.connection, "SELECT * FROM realtime.poll(%s, %s, %s, 1000)",
                            (self.subscription["subscription_id"], self.subscription["session_key"], after))
            if len(messages) >= count:
                return messages
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(messages)} of {count} messages came")
            time.sleep(0.01)


class Realtime(unittest.TestCase):
    def write(self, *notes):
        for note in notes:
            rows(admin, "INSERT INTO public.note VALUES (%s, %s, %s)", note)

    def setUp(self):
        rows(admin, "DELETE FROM public.note")
        self.ada = User()
        self.bob = User()

    def tearDown(self):
        self.ada.connection.close()
        self.bob.connection.close()

    def test_notifications_carry_what_each_may_see(self):
        for user in (self.ada, self.bob):
            user.subscribe("notes", "public", "note")
            user.listen()
        self.write((1, self.ada.id, "for Ada"), (2, self.bob.id, "für Bob ☃"), (3, self.ada.id, None))
        first, second = self.ada.notified(2)
        self.assertEqual(first["eventType"], "INSERT")
        self.assertEqual(first["new"], {"id": 1, "owner_id": self.ada.id, "body": "for Ada"})
        self.assertEqual(second["new"], {"id": 3, "owner_id": self.ada.id, "body": None})
        self.assertEqual([first["seq"], second["seq"]], [1, 2])
        self.assertEqual([m["new"]["body"] for m in self.bob.notified(1)], ["für Bob ☃"])

    def test_a_row_that_changes_hands(self):
        self.write((1, self.ada.id, "a letter"))
        for user in (self.ada, self.bob):
            user.subscribe("notes", "public", "note")
            user.listen()
        rows(admin, "UPDATE public.note SET owner_id = %s, body = 'opened' WHERE id = 1", (self.bob.id,))
        [gone] = self.ada.notified(1)
        [came] = self.bob.notified(1)
        self.assertEqual((gone["eventType"], gone["old"], gone["new"]), ("DELETE", {"id": 1}, {}))
        self.assertEqual((came["eventType"], came["new"]["body"]), ("INSERT", "opened"))

    def test_a_long_message_is_fetched(self):
        self.ada.subscribe("notes", "public", "note")
        self.ada.listen()
        self.write((1, self.ada.id, "x" * 100000))
        [hint] = self.ada.notified(1)
        self.assertTrue(hint["truncated"])
        self.assertNotIn("new", hint)
        [message] = self.ada.poll(hint["seq"] - 1, 1)
        self.assertEqual(len(message["payload"]["new"]["body"]), 100000)

    def test_resuming_after_a_lost_connection(self):
        self.ada.subscribe("notes", "public", "note")
        self.ada.listen()
        self.write((1, self.ada.id, "before"))
        seen = self.ada.notified(1)[-1]["seq"]
        self.ada.connection.close()
        self.write((2, self.ada.id, "meanwhile"), (3, self.ada.id, "too"))
        self.ada.connect()
        self.ada.listen()
        missed = self.ada.poll(seen, 2)
        self.assertEqual([m["payload"]["new"]["body"] for m in missed], ["meanwhile", "too"])
        self.write((4, self.ada.id, "after"))
        self.assertEqual([m["new"]["body"] for m in self.ada.notified(1)], ["after"])

    def test_only_who_has_the_key_polls(self):
        self.ada.subscribe("notes", "public", "note")
        with self.assertRaises(psycopg2.errors.InsufficientPrivilege):
            rows(self.bob.connection, "SELECT * FROM realtime.poll(%s, %s, 0)",
                 (self.ada.subscription["subscription_id"], "0" * len(self.ada.subscription["session_key"])))
        # The key is what counts, and not the connection: a service may poll for its user.
        self.write((1, self.ada.id, "hers"))
        self.assertEqual(len(self.ada.poll(0, 1, using=self.bob.connection)), 1)

    def test_renewing_and_ending(self):
        subscription = self.ada.subscribe("notes", "public", "note")
        key = (subscription["subscription_id"], subscription["session_key"])
        anyone = connect("authenticator")
        rows(anyone, "SET ROLE anon")
        renewed = row(anyone, "SELECT auth.refresh_session(%s) AS s", (self.ada.session["refresh_token"],))["s"]
        anyone.close()
        rows(self.ada.connection, "SELECT realtime.renew(%s, %s, %s)", (*key, renewed["access_token"]))
        with self.assertRaises(psycopg2.errors.InsufficientPrivilege):
            rows(self.bob.connection, "SELECT realtime.renew(%s, %s, %s)", (*key, self.bob.session["access_token"]))
        rows(self.ada.connection, "SELECT realtime.unsubscribe(%s, %s)", key)
        with self.assertRaises(psycopg2.errors.NoDataFound):
            rows(self.ada.connection, "SELECT * FROM realtime.poll(%s, %s, 0)", key)

    def test_the_end_of_a_right_ends_the_stream(self):
        self.ada.subscribe("notes", "public", "note")
        self.ada.listen()
        try:
            rows(admin, "REVOKE SELECT ON public.note FROM authenticated")
            self.write((1, self.ada.id, "not for her any more"))
            [end] = self.ada.notified(1)
            self.assertEqual(end["eventType"], "end")
            self.assertTrue(end["reason"])
        finally:
            rows(admin, "GRANT SELECT ON public.note TO authenticated")


if __name__ == "__main__":
    unittest.main()
