"""A foreign program that hands ids over by plain SQL, one transaction each: `FROM COUNT DATABASE TIMEOUT`.

Prints how many inserts failed, each of which it tries again. With a timeout of 0 it takes its time between them.
"""

from __future__ import annotations

import random
import sqlite3
import sys
import time


def main() -> None:
    first, count, database, timeout = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    failed = 0
    connection = sqlite3.connect(database, timeout=timeout, isolation_level=None)  # noqa: TID251 - a foreign program
    for number in range(first, first + count):
        time.sleep(0.0 if timeout else random.uniform(0.0, 0.012))
        while True:
            try:
                connection.execute("INSERT OR IGNORE INTO messages (id) VALUES (?)", (number,))
            except sqlite3.OperationalError:
                failed += 1
                time.sleep(random.uniform(0.0, 0.02))
            else:
                break
    connection.close()
    print(failed)


if __name__ == "__main__":
    main()
