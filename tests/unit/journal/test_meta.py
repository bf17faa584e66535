"""What the journal knows about itself."""

from contextlib import closing

from shipper.journal.journal import Journal
from tests.fakes.journals import NOW


def test_a_probe_changes_nothing_that_the_journal_knows(journal: Journal) -> None:
    journal.origin.adopt("i-1")
    journal.origin.probe()
    journal.origin.probe()
    assert (journal.origin.instance_id(), journal.origin.settings()) == ("i-1", None)


def test_the_instance_that_adopted_the_journal_is_remembered(journal: Journal, path: str) -> None:
    assert journal.origin.instance_id() == ""
    journal.origin.adopt("i-1")
    journal.close()
    with closing(Journal.open(path, now=NOW)) as again:
        assert again.origin.instance_id() == "i-1"


def test_starts_are_counted_from_the_larger_number(journal: Journal) -> None:
    origin = journal.origin
    assert origin.starts() == 0
    assert [origin.count_start(known) for known in (0, 7, 3)] == [1, 8, 9]
    assert origin.starts() == 9
