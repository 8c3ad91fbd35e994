"""An application's table in another database, which remembers each state that a row ever had."""

from __future__ import annotations

from typing import Final

from tests.servers.database import PASSWORD, Database

TABLE: Final = """
CREATE TABLE states (
    id bigint, msisdn bigint, status text, final boolean, last_seq bigint NOT NULL, PRIMARY KEY (id, msisdn)
);
CREATE TABLE history (n bigserial PRIMARY KEY, id bigint, msisdn bigint, seq bigint);
CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
'BEGIN INSERT INTO history (id, msisdn, seq) VALUES (NEW.id, NEW.msisdn, NEW.last_seq); RETURN NULL; END';
CREATE TRIGGER remember AFTER INSERT OR UPDATE ON states FOR EACH ROW EXECUTE FUNCTION remember();
"""
STATEMENT: Final = """\
INSERT INTO states (id, msisdn, status, final, last_seq) VALUES (:id, :msisdn, :status, :final, :seq)
ON CONFLICT (id, msisdn) DO UPDATE
SET status = excluded.status, final = excluded.final, last_seq = excluded.last_seq
WHERE states.last_seq < excluded.last_seq"""
"""With the guard that every recipe has: a row never goes back."""


class Foreign:
    """The table, written by `user`."""

    def __init__(self, database: Database, user: str) -> None:
        self.database = database
        self._user = user
        database.script(TABLE)
        database.execute(f"GRANT SELECT, INSERT, UPDATE ON states TO {user}")

    @property
    def toml(self) -> str:
        """The output of a member."""
        server = self.database.server
        url = f"postgresql://{self._user}@/{self.database.name}?host={server.folder}&port={server.port}"
        return f'[[outputs.sql]]\nurl = "{url}"\npassword = "{PASSWORD}"\nstatement = """\n{STATEMENT}"""\n'

    def finals(self) -> set[int]:
        """Messages whose final state is there; none while nobody can say."""
        try:
            return {number for (number,) in self.database.execute("SELECT id FROM states WHERE final")}
        except Exception:  # noqa: BLE001 - the server may be down, which is what this is about
            return set()

    def older(self) -> int:
        """Rows that ever had an older state after a newer one."""
        return int(
            self.database.execute(
                "SELECT count(*) FROM (SELECT seq, lag(seq) OVER (PARTITION BY id, msisdn ORDER BY n) AS before"
                " FROM history) AS each WHERE seq <= before"
            )[0][0]
        )

    def changes(self) -> int:
        """How often rows have changed."""
        return int(self.database.execute("SELECT count(*) FROM history")[0][0])
