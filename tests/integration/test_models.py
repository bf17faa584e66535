"""Botocore's cut models against its whole ones: the same requests, and less of everything else."""

from collections.abc import Mapping
from typing import Any

import pytest
from botocore import xform_name
from botocore.config import Config
from botocore.loaders import Loader
from botocore.model import ServiceModel

from shipper.core.types import RoleCredentials
from shipper.edges.s3.models import lean_loader, only_operations
from shipper.edges.s3.session import session_with
from shipper.edges.s3.store import OPERATIONS

UPLOAD = {"Bucket": "logs", "Key": "a b/ä", "UploadId": "u"}
REQUESTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "s3": {
        "AbortMultipartUpload": UPLOAD,
        "CompleteMultipartUpload": UPLOAD
        | {"MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": '"e"'}]}, "IfNoneMatch": "*"},
        "CreateMultipartUpload": {"Bucket": "logs", "Key": "k", "Metadata": {"a": "b"}},
        "ListObjectsV2": {"Bucket": "logs", "Prefix": "a b/", "MaxKeys": 1},
        "PutObject": {"Bucket": "logs", "Key": "k", "Body": bytearray(b"x"), "Tagging": "a=b"},
        "UploadPart": UPLOAD | {"PartNumber": 1, "Body": bytearray(b"x")},
    },
    "sts": {"AssumeRole": {"RoleArn": "arn:aws:iam::1:role/role-name", "RoleSessionName": "name"}},
}
PLACES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "oldest": ("us-east-1", {"s3": {"us_east_1_regional_endpoint": "regional"}}),
    "path": ("eu-central-1", {"s3": {"addressing_style": "path"}}),
    "fips": ("us-gov-west-1", {"use_fips_endpoint": True}),
    "dualstack": ("eu-west-3", {"use_dualstack_endpoint": True}),
    "china": ("cn-north-1", {}),
    "isolated": ("us-iso-east-1", {}),
    "unknown": ("eu-nowhere-9", {}),
}
OF_ITS_MOMENT = {"authorization", "x-amz-date", "amz-sdk-invocation-id", "amz-sdk-request"}


class Caught(Exception):
    """Instead of sending."""


def credentials() -> RoleCredentials:
    return RoleCredentials("AK1", "secret", "session", expires_at=4e9)


def sent(client: Any, operation: str, parameters: Mapping[str, Any]) -> tuple[Any, ...]:
    """What would have gone out."""
    caught: list[Any] = []

    def catch(request: Any, **_: Any) -> None:
        caught.append(request)
        raise Caught

    client.meta.events.register_first("before-send", catch)
    with pytest.raises(Caught):
        getattr(client, xform_name(operation))(**parameters)
    client.meta.events.unregister("before-send", catch)
    request = caught[0]
    headers = {
        name.lower(): value
        for name, value in request.headers.items()
        if name.lower() not in OF_ITS_MOMENT
    }
    scope = str(request.headers["Authorization"]).split("/", 2)[2].partition(",")[0]
    return request.method, request.url, headers, scope


@pytest.mark.parametrize("facts", PLACES)
@pytest.mark.parametrize("service", REQUESTS)
def test_every_request_is_the_one_that_the_whole_model_makes(service: str, facts: str) -> None:
    region, options = PLACES[facts]
    requests = REQUESTS[service]
    lean, whole = (
        session_with(credentials, models).create_client(
            service, region_name=region, config=Config(**options)
        )
        for models in (lean_loader(service, requests.keys()), None)
    )
    for operation, parameters in requests.items():
        assert sent(lean, operation, parameters) == sent(whole, operation, parameters), operation


def test_nothing_is_left_but_what_the_operations_reach() -> None:
    whole = Loader().load_service_model("s3", "service-2")
    lean = lean_loader("s3", OPERATIONS).load_service_model("s3", "service-2")
    assert lean["operations"].keys() == OPERATIONS
    assert len(lean["shapes"]) < len(whole["shapes"]) / 3
    assert len(str(lean)) < len(str(whole)) / 10


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_an_operation_keeps_its_input_its_answer_and_its_errors(operation: str) -> None:
    whole, lean = (
        ServiceModel(loader.load_service_model("s3", "service-2"), "s3").operation_model(operation)
        for loader in (Loader(), lean_loader("s3", OPERATIONS))
    )
    for one, other in (
        (whole.input_shape, lean.input_shape),
        (whole.output_shape, lean.output_shape),
    ):
        assert (one and list(one.members)) == (other and list(other.members))
    assert [shape.name for shape in whole.error_shapes] == [
        shape.name for shape in lean.error_shapes
    ]


def test_shapes_that_hold_themselves_are_followed_once() -> None:
    tree = {"type": "structure", "members": {"children": {"shape": "Trees"}}}
    trees = {"type": "list", "member": {"shape": "Tree"}}
    model = {
        "metadata": {"serviceId": "Wood"},
        "operations": {"Plant": {"input": {"shape": "Tree"}}, "Fell": {"input": {"shape": "Axe"}}},
        "shapes": {"Tree": tree, "Trees": trees, "Axe": {"type": "string"}},
    }
    assert only_operations(model, {"Plant"}) == {
        "metadata": {"serviceId": "Wood"},
        "operations": {"Plant": {"input": {"shape": "Tree"}}},
        "shapes": {"Tree": tree, "Trees": trees},
    }


def test_other_services_endpoints_are_left_out() -> None:
    partitions = lean_loader("s3", OPERATIONS).load_data("endpoints")["partitions"]
    assert {partition["partition"] for partition in partitions} >= {"aws", "aws-cn", "aws-us-gov"}
    assert {name for partition in partitions for name in partition["services"]} == {"s3"}


def test_a_document_that_is_not_there_is_none() -> None:
    loader = lean_loader("s3", OPERATIONS)
    assert loader.file_loader.load_file("/nowhere/service-2") is None
    assert not loader.file_loader.exists("/nowhere/service-2")
