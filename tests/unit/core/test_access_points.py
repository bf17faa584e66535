"""The ARNs of access points, as AWS and botocore write them."""

import pytest

from shipper.core.access_points import access_point_of


@pytest.mark.parametrize(
    ("bucket", "arn", "is_multi_region"),
    [
        ("arn:aws:s3:eu-central-1:111122223333:accesspoint/logs", "", False),
        ("arn:aws-cn:s3:cn-north-1:111122223333:accesspoint/logs", "", False),
        (
            "arn:aws:s3:eu-central-1:111122223333:accesspoint:logs",
            "arn:aws:s3:eu-central-1:111122223333:accesspoint/logs",
            False,
        ),
        ("arn:aws:s3::111122223333:accesspoint/abc.mrap", "", True),
        ("arn:aws:s3-outposts:us-west-2:111122223333:outpost/op-1/accesspoint/logs", "", False),
    ],
)
def test_an_access_point_is_known_by_its_arn(bucket: str, arn: str, is_multi_region: bool) -> None:
    found = access_point_of(bucket)
    assert found is not None
    assert (found.arn, found.is_multi_region) == (arn or bucket, is_multi_region)
    assert found.partition == bucket.split(":")[1]


@pytest.mark.parametrize(
    "bucket",
    [
        "my-logs",
        "my-logs-abcdefghijklmnop-s3alias",
        "arn:aws:s3:::my-logs",
        "arn:aws:s3::111122223333:accesspoint/logs",
        "arn:aws:s3:eu-central-1:111122223333:accesspoint/abc.mrap",
        "arn:aws:s3:eu-central-1:1111:accesspoint/logs",
        "arn:aws:s3-object-lambda:eu-central-1:111122223333:accesspoint/logs",
        "arn:aws:s3:eu-central-1:111122223333:accesspoint/logs/object/x",
    ],
)
def test_nothing_else_is_one(bucket: str) -> None:
    assert access_point_of(bucket) is None
