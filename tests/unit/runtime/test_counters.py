"""What is counted by S3's codes stays bounded, whatever a server calls them."""

from shipper.runtime.counters import LONGEST_CODE, MOST_CODES, Counters


def test_codes_of_a_server_are_bounded_in_length_and_number() -> None:
    counters = Counters()
    counters.requested("PutObject", "")
    for number in range(10 * MOST_CODES):
        counters.requested("PutObject", f"Code{number}" + "x" * 10_000)
        counters.retried(f"Code{number}\n\x00\u00e9" + "y" * 10_000)
    requests, retries = counters.requests(), counters.retries()
    assert len({code for _, code in requests} | set(retries)) <= MOST_CODES + 1
    assert all(len(code) <= LONGEST_CODE and code.isascii() for _, code in requests)
    assert all(code.isprintable() for code in retries)
    assert requests["PutObject", "other"] > 8 * MOST_CODES
    assert requests["PutObject", ""] == 1
