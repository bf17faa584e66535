"""The words by which the mocked metadata service is told to break."""

from random import Random

import pytest

from shipper.mock.fault import KINDS, Fault, Faults, fault_from


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("503", Fault("503", "503")),
        ("hang x2", Fault("hang x2", "hang", times=2)),
        ("PUT 429 5%", Fault("PUT 429 5%", "429", method="PUT", chance=0.05)),
        ("/latest/ empty", Fault("/latest/ empty", "empty", path="/latest/")),
        (
            " GET /a$  reset x3 100% ",
            Fault("GET /a$  reset x3 100%", "reset", "GET", "/a", is_whole_path=True, times=3),
        ),
        ("no-token-answer x1", Fault("no-token-answer x1", "hang", method="PUT", times=1)),
    ],
)
def test_a_fault_is_read_from_its_words(text: str, expected: Fault) -> None:
    assert fault_from(text) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_fault_with_a_number_has_a_status(kind: str) -> None:
    assert fault_from(kind).status == 0
    assert fault_from("GET 404").status == 404


NO_FAULTS = (
    *("", "PUT", "200", "600", "50", "hangs", "POST hang", "latest hang", "hang x0", "hang 101%"),
    *("hang hang", "5% hang", "PUT/latest hang", "GET no-token-answer", "/a$b hang", "503 x-1"),
)


@pytest.mark.parametrize("text", NO_FAULTS)
def test_what_is_no_fault_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"no fault; write|about PUT alone") as caught:
        fault_from(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "method", "path", "is_met"),
    [
        ("503", "PUT", "/anything", True),
        ("PUT 503", "GET", "/latest/", False),
        ("/latest/meta-data/ 503", "GET", "/latest/meta-data/iam/info", True),
        ("/latest/meta-data/ 503", "GET", "/latest/dynamic/", False),
        ("/latest/meta-data/$ 503", "GET", "/latest/meta-data/iam/info", False),
        ("/latest/meta-data/$ 503", "GET", "/latest/meta-data/", True),
        ("503 0%", "GET", "/latest/", False),
    ],
)
def test_a_fault_meets_the_requests_it_is_about(
    fault: str, method: str, path: str, is_met: bool
) -> None:
    faults = Faults()
    faults.set(fault)
    assert (faults.take(method, path) is not None) is is_met


def test_faults_are_used_up_in_their_order_and_then_the_service_behaves() -> None:
    faults = Faults()
    faults.set("PUT 503 x2", "500 x1")
    met = [faults.take(method, "/") for method in ("PUT", "GET", "PUT", "PUT")]
    assert [fault and fault.kind for fault in met] == ["503", "500", "503", None]
    assert faults.texts() == []


def test_a_fault_without_times_lasts_until_the_faults_are_set_anew() -> None:
    faults = Faults()
    faults.set("reset")
    assert all(faults.take("GET", "/") for _ in range(100))
    assert faults.texts() == ["reset"]
    faults.set()
    assert faults.take("GET", "/") is None


def test_a_bad_fault_leaves_the_faults_as_they_were() -> None:
    faults = Faults()
    faults.set("hang")
    with pytest.raises(ValueError, match="'sulk' is no fault"):
        faults.set("reset", "sulk")
    assert faults.texts() == ["hang"]


def test_a_fault_by_chance_is_met_about_as_often_as_it_says() -> None:
    faults = Faults(Random(7))
    faults.set("500 5%")
    assert 350 < sum(faults.take("GET", "/") is not None for _ in range(10_000)) < 650
