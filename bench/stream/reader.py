"""The one reader of the benchmarks: subscribes as user 1, LISTENs, and times
what arrives.

	reader.py batch TABLE ROWS TRANSACTIONS
		another connection writes ROWS rows of user 1 in so many transactions;
		prints the milliseconds from the first write to the last notification
	reader.py single TABLE COUNT
		one row at a time, each awaited: prints p50 and p99 in milliseconds
		from COMMIT sent to notification read
	reader.py follow TABLE SECONDS
		follows what others write, whose body is the time of writing in seconds
		since 1970; prints how many came, p50 and p99 in milliseconds
"""

import json
import select
import sys
import threading
import time

import psycopg2

USER = "00000000-0000-4000-8000-000000000001"


def connect():
    connection = psycopg2.connect("")
    connection.autocommit = True
    return connection


def subscribe(table):
    connection = connect()
    cursor = connection.cursor()
    cursor.execute("SELECT set_config('request.jwt.claims', claims_of(1), false)")
    cursor.execute("SET ROLE authenticated")
    cursor.execute("SELECT subscription_id, session_key, listen_channel FROM realtime.subscribe('bench', 'public', %s)", (table,))
    subscription = cursor.fetchone()
    cursor.execute(f'LISTEN "{subscription[2]}"')
    return connection, cursor, subscription


def arrived(connection, limit):
    """What has arrived, waiting at most so many seconds for the first."""
    if not connection.notifies:
        select.select([connection], [], [], limit)
        connection.poll()
    came = connection.notifies[:]
    del connection.notifies[:]
    return came


def percentile(values, share):
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def main():
    kind, table = sys.argv[1], sys.argv[2]
    connection, cursor, subscription = subscribe(table)
    taken = []

    if kind == "batch":
        rows, transactions = int(sys.argv[3]), int(sys.argv[4])
        write = connect().cursor()
        count = 0

        def work():
            # the rows are made by the server, and cost this process nothing
            for _ in range(transactions):
                write.execute(f"INSERT INTO {table} (owner, body) SELECT %s, repeat('x', 100) FROM generate_series(1, %s)",
                              (USER, rows // transactions))

        thread = threading.Thread(target=work)
        started = time.perf_counter()
        thread.start()
        while count < rows // transactions * transactions:
            count += len(arrived(connection, 60))
        print((time.perf_counter() - started) * 1000)
        thread.join()
    elif kind == "single":
        write = connect().cursor()
        for n in range(int(sys.argv[3])):
            started = time.perf_counter()
            write.execute(f"INSERT INTO {table} (owner, body) VALUES (%s, %s)", (USER, str(n)))
            while not arrived(connection, 60):
                pass
            taken.append((time.perf_counter() - started) * 1000)
        print(percentile(taken, 0.5), percentile(taken, 0.99))
    else:
        until = time.time() + float(sys.argv[3])
        while time.time() < until:
            for notification in arrived(connection, 0.1):
                now = time.time()
                body = json.loads(notification.payload)["new"]["body"]
                taken.append((now - float(body)) * 1000)
        print(len(taken), percentile(taken, 0.5), percentile(taken, 0.99))

    cursor.execute("SELECT realtime.unsubscribe(%s, %s)", subscription[:2])


main()
