"""``shipper iam`` as an operator types it; what it prints is enforced by moto and linted.

moto judges actions and resources of a role's policy. It ignores conditions (but a few in trust
policies), variables and bucket policies: those are judged in ``tests/unit/iam/test_policies.py``.
"""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.session import Session

from shipper.cli.main import main
from shipper.core.destinations import Destination
from shipper.core.types import (
    ChecksumAlgorithm,
    ETag,
    ObjectKey,
    Receipt,
    RoleCredentials,
)
from shipper.edges.s3.archive import BucketArchive
from shipper.edges.s3.store import S3Store
from tests.fakes.s3_stores import s3_store
from tests.fakes.servers import ACCOUNT_ID, REGION, Moto

KMS_KEY = f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/11111111-2222-3333-4444-555555555555"
PER_INSTANCE = (
    'prefix = "logs/AROAEXAMPLEEXAMPLE123:"\n'
    'key = "{prefix}{instance_id}/{watch}/{stem}.{digest}{extension}"'
)
REMOTE_ROLE = f"arn:aws:iam::{ACCOUNT_ID}:role/writer"
PART = bytes(5 * 1024**2)


class Typed:
    """Types ``shipper iam`` with one configuration."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str], bucket: str) -> None:
        self.bucket = bucket
        self._config = directory / "shipper.toml"
        self._capsys = capsys
        self.more = ""
        """More tables."""
        self.configure("")

    def configure(self, destination: str) -> None:
        """Write the configuration, with these lines more for the destination."""
        self._config.write_text(
            f'[destination]\nbucket = "{self.bucket}"\n{destination}\n'
            f'[[watch]]\ndirectory = "/var/log/nginx"\n{self.more}'
        )

    def text(self, *words: str, code: int = 0) -> str:
        """What is printed; with a code that is not 0, the error."""
        found = main(["iam", *words, "--config", str(self._config)])
        out, error = self._capsys.readouterr()
        assert found == code, out + error
        return error if code else out

    def document(self, *words: str) -> dict[str, Any]:
        """What is printed, which is JSON and nothing else."""
        document: dict[str, Any] = json.loads(self.text(*words))
        return document

    def notes(self, *words: str) -> str:
        """What is said beside it."""
        assert main(["iam", *words, "--config", str(self._config)]) == 0
        return self._capsys.readouterr().err


@pytest.fixture
def own(own_moto: Moto) -> Moto:
    """A server of our own: while it enforces, nobody else can use it."""
    return own_moto


@pytest.fixture
def typed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Typed:
    monkeypatch.delenv("SHIPPER_CONFIG", raising=False)
    return Typed(tmp_path, capsys, "my-secure-log-bucket")


def linted(template: str) -> list[Any]:
    """What cfn-lint has to say; it takes long to be imported."""
    from cfnlint.api import lint  # type: ignore[import-untyped]  # it has no stubs

    found: list[Any] = lint(template)
    return found


def is_denied(call: Callable[..., Any], **arguments: Any) -> bool:
    """Whether the call is refused for the policy's sake; any other failure is one."""
    try:
        call(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("AccessDenied", "403"):
            return True
        raise
    return False


def store(own: Moto, bucket: str, credentials: RoleCredentials) -> S3Store:
    """The daemon's own store."""
    none = ChecksumAlgorithm.NONE
    return s3_store(own.url, bucket=bucket, credentials=lambda: credentials, algorithm=none)


def test_all_that_the_daemon_does_is_allowed_by_the_policy(typed: Typed, own: Moto) -> None:
    own.create_bucket(typed.bucket)
    daemon = store(own, typed.bucket, own.assume_with("shipper", typed.text("policy")))
    one, many = ObjectKey("logs/app/one"), ObjectKey("logs/app/many")
    with own.enforcing():
        daemon.probe()
        daemon.put(one, b"one", checksum="", metadata={}).result()
        upload = daemon.create_upload(many, metadata={}).result().upload_id
        etag, _ = daemon.upload_part(many, upload, 1, PART, checksum="").result()
        receipt = Receipt(1, 0, len(PART), len(PART), ETag(etag), "")
        daemon.complete_upload(many, upload, [receipt], checksum="").result()
        found = daemon.find(many).result()
    assert found is not None
    assert own.objects(typed.bucket) == {one: b"one", many: PART}


def test_heartbeats_are_allowed_where_they_are_asked_for(typed: Typed, own: Moto) -> None:
    key, far = ObjectKey("logs/_fleet/instance=i-1/heartbeat.json"), "far/{watch}/{stem}.{digest}"
    own.create_bucket(typed.bucket)
    typed.more = '[manifest]\ninterval = "0s"\n'
    typed.configure(f'key = "{far}"')
    deaf = own.client_as("s3", own.assume_with("deaf", typed.text("policy")))
    typed.more += '[fleet]\nheartbeat = "1h"\n'
    typed.configure(f'key = "{far}"')
    daemon = store(own, typed.bucket, own.assume_with("shipper", typed.text("policy")))
    with own.enforcing():
        for _ in range(2):
            daemon.put(key, b"{}", checksum="", metadata={}, overwrites=True).result()
        assert is_denied(deaf.put_object, Bucket=typed.bucket, Key=key, Body=b"x")


def test_all_that_the_daemon_does_not_do_is_denied(typed: Typed, own: Moto) -> None:
    own.create_bucket(typed.bucket)
    own.create_bucket("another-bucket")
    keys = own.assume_with("shipper", typed.text("policy"))
    own.client("s3").put_object(Bucket=typed.bucket, Key="logs/x", Body=b"x")
    s3, here = own.client_as("s3", keys), {"Bucket": typed.bucket}
    with own.enforcing():
        assert not is_denied(s3.put_object, **here, Key="logs/y", Body=b"y")
        assert is_denied(s3.put_object, **here, Key="neighbour/y", Body=b"y")
        assert is_denied(s3.create_multipart_upload, **here, Key="neighbour/y")
        assert is_denied(s3.put_object, Bucket="another-bucket", Key="logs/y", Body=b"y")
        assert is_denied(s3.list_objects_v2, Bucket="another-bucket")
        assert is_denied(s3.get_object, **here, Key="logs/x")
        assert is_denied(s3.head_object, **here, Key="logs/x")
        assert is_denied(s3.delete_object, **here, Key="logs/x")
        assert is_denied(s3.get_bucket_policy, **here)
    assert own.keys(typed.bucket) == ["logs/x", "logs/y"]


def test_a_reader_may_get_and_list_and_nothing_else(
    typed: Typed, own: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed.configure('key = "fleet/{prefix}{watch}/{digest}"')
    own.create_bucket(typed.bucket)
    for key in ("fleet/logs/app/x", "logs/_manifests/x", "other/x"):
        own.client("s3").put_object(Bucket=typed.bucket, Key=key, Body=b"x")
    keys = own.assume_with("reader", typed.text("reader"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_access_key)
    monkeypatch.setenv("AWS_SESSION_TOKEN", keys.session_token)
    s3, here = own.client_as("s3", keys), {"Bucket": typed.bucket}
    with (
        BucketArchive(Destination(typed.bucket, endpoint_url=own.url)) as archive,
        own.enforcing(),
    ):
        for key in ("fleet/logs/app/x", "logs/_manifests/x"):
            assert list(archive.read(ObjectKey(key))) == [b"x"]
            assert archive.metadata(ObjectKey(key)) == {}
        assert [one.key for one in archive.listed("logs/")] == ["logs/_manifests/x"]
        assert is_denied(s3.get_object, **here, Key="other/x")
        assert is_denied(s3.put_object, **here, Key="logs/x", Body=b"")
        assert is_denied(s3.delete_object, **here, Key="fleet/logs/app/x")
        assert is_denied(s3.list_objects_v2, Bucket="another-bucket")


def test_the_resource_follows_the_template_and_not_only_the_prefix(
    typed: Typed, own: Moto
) -> None:
    typed.configure('key = "fleet/{prefix}{watch}/{digest}"')
    own.create_bucket(typed.bucket)
    s3 = own.client_as("s3", own.assume_with("shipper", typed.text("policy")))
    with own.enforcing():
        assert not is_denied(s3.put_object, Bucket=typed.bucket, Key="fleet/logs/x", Body=b"")
        assert is_denied(s3.put_object, Bucket=typed.bucket, Key="logs/x", Body=b"")
        assert is_denied(s3.put_object, Bucket=typed.bucket, Key="fleet/x", Body=b"")


def test_with_a_role_to_assume_that_and_nothing_else_is_allowed(typed: Typed, own: Moto) -> None:
    typed.configure(f'role_arn = "{REMOTE_ROLE}"\nexternal_id = "shared-secret"')
    own.create_bucket(typed.bucket)
    own.assume_with("writer", typed.text("policy", "--assumed-role"))
    own.assume_with("other", typed.text("policy", "--assumed-role"))
    keys = own.assume_with("shipper", typed.text("policy"))
    sts, s3 = own.client_as("sts", keys), own.client_as("s3", keys)
    session: dict[str, Any] = {"RoleSessionName": "i-1"}
    other = REMOTE_ROLE.replace("writer", "other")
    with own.enforcing():
        assert not is_denied(sts.assume_role, RoleArn=REMOTE_ROLE, **session)
        assert is_denied(sts.assume_role, RoleArn=other, **session)
        assert is_denied(s3.put_object, Bucket=typed.bucket, Key="logs/x", Body=b"")
    assert REMOTE_ROLE in typed.notes("policy")


@pytest.mark.parametrize(
    ("destination", "words"),
    [
        ("", []),
        ('acl = "bucket-owner-full-control"\ntags = {team = "web"}', []),
        (PER_INSTANCE, ["--per-instance-prefix"]),
        (f'server_side_encryption = "aws:kms"\nkms_key_id = "{KMS_KEY}"', ["--require-tls"]),
        ('prefix = "a*?$${x}/ü"', ["--vpc", "vpc-11111111", "--only-from-instance"]),
    ],
)
def test_iam_and_s3_take_the_documents_as_they_are_printed(
    typed: Typed, own: Moto, destination: str, words: list[str]
) -> None:
    typed.configure(destination)
    own.create_bucket(typed.bucket)
    iam, s3 = own.client("iam"), own.client("s3")
    trust, policy = typed.text("trust"), typed.text("policy", *words)
    iam.create_role(RoleName="shipper", AssumeRolePolicyDocument=trust)
    iam.put_role_policy(RoleName="shipper", PolicyName="shipper", PolicyDocument=policy)
    assert policy.isascii(), "IAM takes Latin 1 only"
    bucket_policy = typed.text("bucket-policy", *words, "--account", ACCOUNT_ID, "--write-once")
    s3.put_bucket_policy(Bucket=typed.bucket, Policy=bucket_policy)
    kept = s3.get_bucket_policy(Bucket=typed.bucket)["Policy"]
    assert json.loads(kept) == json.loads(bucket_policy)


# The steps


def members(operation: str, service: str) -> dict[str, str]:
    """The parameters of a call, by the names the aws CLI gives them."""
    model = Session().get_service_model(service).operation_model(operation)
    shape: Any = model.input_shape
    return {kebab(name): name for name in shape.members}


def kebab(name: str) -> str:
    """``RoleName`` as ``role-name``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def parsed(line: str) -> tuple[str, str, dict[str, str]]:
    """Service, operation and arguments of a line for the aws CLI; each must exist in botocore."""
    aws, service, command, *rest = shlex.split(line)
    assert aws == "aws"
    operations = Session().get_service_model(service).operation_names
    [operation] = [name for name in operations if kebab(name) == command]
    known, given, option = members(operation, service), {}, ""
    for word in rest:
        if word.startswith("--"):
            option = word.removeprefix("--")
            given[known[option]] = ""
        else:
            given[known[option]] += word
    return service, operation, given


def test_the_steps_make_the_role_and_the_profile(typed: Typed, own: Moto) -> None:
    lines = typed.text("commands", "--principal-tag", "team=web", "--role", "logs").splitlines()
    steps = [line for line in lines if line.startswith("aws ") and " wait " not in line]
    for line in steps:
        service, operation, given = parsed(line)
        arguments: dict[str, Any] = dict(given)
        if "Tags" in arguments:
            arguments["Tags"] = json.loads(arguments["Tags"])
        method = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).lower()
        getattr(own.client(service), method)(**arguments)
    iam = own.client("iam")
    profile = iam.get_instance_profile(InstanceProfileName="logs")["InstanceProfile"]
    [role] = profile["Roles"]
    assert role["RoleName"] == "logs"
    trust = typed.document("trust")
    assert role["AssumeRolePolicyDocument"] == trust
    kept = iam.get_role_policy(RoleName="logs", PolicyName="shipper")["PolicyDocument"]
    assert kept == typed.document("policy", "--principal-tag", "team=web")
    assert iam.list_role_tags(RoleName="logs")["Tags"] == [{"Key": "team", "Value": "web"}]


def test_the_steps_that_are_left_to_choose_exist_and_name_the_profile(typed: Typed) -> None:
    text = typed.text("commands", "--role", "logs")
    left = re.sub(r" \\\n#  ", "", text).splitlines()
    chosen = [line.removeprefix("# ") for line in left if line.startswith("# aws ")]
    found = {}
    for line in chosen:
        inner = re.search(r'"\$\((.*)\)"', line)
        for one in [line.replace(inner[0], "id"), inner[1]] if inner else [line]:
            without_query = re.sub(r" --query .* --output text", "", one)
            _, operation, given = parsed(without_query)
            found[operation] = given
    assert set(found) == {
        "RunInstances",
        "AssociateIamInstanceProfile",
        "ReplaceIamInstanceProfileAssociation",
        "DescribeIamInstanceProfileAssociations",
        "ModifyInstanceMetadataOptions",
    }
    for operation in ("RunInstances", "AssociateIamInstanceProfile"):
        assert found[operation]["IamInstanceProfile"] == "Name=logs"
    assert found["ReplaceIamInstanceProfileAssociation"]["IamInstanceProfile"] == "Name=logs"
    modified = found["ModifyInstanceMetadataOptions"]
    assert modified["HttpTokens"] == "required"
    assert modified["HttpPutResponseHopLimit"] == "2"


# The template

TEMPLATES = [
    ("", []),
    ('prefix = "a*?$${x}/"\nacl = "private"\ntags = {team = "web"}', ["--write-once"]),
    (PER_INSTANCE, ["--per-instance-prefix", "--principal-tag", "team=web"]),
    (
        f'server_side_encryption = "aws:kms"\nkms_key_id = "{KMS_KEY}"\nbucket_key_enabled = true',
        ["--vpc", "vpc-11111111", "--vpc-endpoint", "vpce-11111111", "--only-from-instance"],
    ),
    (f'role_arn = "{REMOTE_ROLE}"', ["--source-ip", "203.0.113.0/24", "--require-imdsv2"]),
]


@pytest.mark.system
@pytest.mark.parametrize(("destination", "words"), TEMPLATES)
def test_cfn_lint_has_nothing_to_say_about_the_template(
    typed: Typed, destination: str, words: list[str]
) -> None:
    typed.configure(destination)
    assert linted(typed.text("cloudformation", *words)) == []


@pytest.mark.system
def test_cfn_lint_would_find_a_mistake_in_the_template(typed: Typed) -> None:
    broken = typed.text("cloudformation").replace("DaysAfterInitiation", "DaysAfterwards")
    assert linted(broken)


def test_the_bucket_of_the_template_is_closed_versioned_and_cleans_up(typed: Typed) -> None:
    bucket = typed.document("cloudformation")["Resources"]["Bucket"]["Properties"]
    assert bucket["BucketName"] == typed.bucket
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    [rule] = bucket["LifecycleConfiguration"]["Rules"]
    assert rule["Status"] == "Enabled"
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}


def test_the_template_makes_the_bucket_and_a_profile_with_the_role(
    typed: Typed, own: Moto
) -> None:
    stack = {"StackName": "shipper", "TemplateBody": typed.text("cloudformation", "--write-once")}
    own.client("cloudformation").create_stack(**stack, Capabilities=["CAPABILITY_NAMED_IAM"])
    s3, iam, bucket = own.client("s3"), own.client("iam"), {"Bucket": typed.bucket}
    [rule] = s3.get_bucket_encryption(**bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    profile = iam.get_instance_profile(InstanceProfileName="shipper")["InstanceProfile"]
    [role] = profile["Roles"]
    assert role["AssumeRolePolicyDocument"] == typed.document("trust")


def test_the_template_holds_the_policies_that_are_printed_alone(typed: Typed) -> None:
    """Not read back from a stack: moto makes no bucket policy and bends inline policies."""
    resources = typed.document("cloudformation", "--write-once")["Resources"]
    [inline] = resources["Role"]["Properties"]["Policies"]
    assert inline["PolicyDocument"] == typed.document("policy")
    attached = json.dumps(resources["BucketPolicy"]["Properties"]["PolicyDocument"])
    role = json.dumps(f"arn:aws:iam::{ACCOUNT_ID}:role/shipper")
    named = attached.replace('{"Fn::GetAtt": ["Role", "Arn"]}', role)
    words = ("bucket-policy", "--account", ACCOUNT_ID, "--write-once")
    assert json.loads(named) == typed.document(*words)


# What is refused


def test_a_wrong_combination_is_said_with_a_hint_and_nothing_is_printed(typed: Typed) -> None:
    said = typed.text("policy", "--source-ip", "203.0.113.0/24", "--vpc", "vpc-11111111", code=1)
    assert "BadOption: --source-ip and --vpc never hold together" in said
    assert "hint:" in said


def test_a_prefix_per_instance_says_how_the_prefix_has_to_look(typed: Typed) -> None:
    for document in ("policy", "commands", "cloudformation"):
        said = typed.text(document, "--per-instance-prefix", code=1)
        assert "PrefixNotPerInstance" in said
        assert 'destination.prefix = "logs/ROLE_ID:"' in said


def test_the_bucket_policy_asks_for_the_account_it_needs(typed: Typed) -> None:
    assert "--account" in typed.text("bucket-policy", code=1)


@pytest.mark.parametrize("words", [["iam"], ["iam", "everything"], ["iam", "trust", "--fast"]])
def test_a_document_that_there_is_not_is_a_usage_error(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(words)
    assert leaving.value.code == 64
    assert "usage: shipper" in capsys.readouterr().err


def test_the_help_says_what_each_document_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["iam", "--help"])
    said = capsys.readouterr().out
    for document in ("trust", "policy", "bucket-policy", "commands", "cloudformation"):
        assert f"\n  {document} " in said


SEVERAL = """
[destinations.audit]
bucket = "audit-bucket"
role_arn = "arn:aws:iam::123456789012:role/audit"
external_id = "word"
[destinations.copy]
bucket = "copies"
role_arn = "arn:aws:iam::123456789012:role/copies"
[destinations.cold]
bucket = "cold"
acl = "private"
object_lock_mode = "COMPLIANCE"
object_lock_retain = "400d"
[[watch]]
directory = "/srv/audit"
destination = "audit"
[[watch]]
directory = "/srv/copy"
destination = "copy"
[[watch]]
directory = "/srv/cold"
destination = "cold"
"""


def test_documents_of_several_destinations(typed: Typed) -> None:
    typed.more = SEVERAL
    typed.configure("")
    statements = typed.document("policy")["Statement"]
    resources = [str(one["Resource"]) for one in statements]
    assert [one for one in resources if ":role/" in one] == [
        "arn:aws:iam::123456789012:role/audit",
        "arn:aws:iam::123456789012:role/copies",
    ]
    assert "arn:aws:s3:::cold/logs/*" in resources
    assert "s3:PutObjectRetention" in typed.text("policy")
    assert "audit-bucket" not in typed.text("policy")
    assert "s3:PutObjectRetention" not in typed.text("policy", "--destination", "default")
    audit = typed.text("policy", "--assumed-role", "--destination", "audit")
    assert "arn:aws:s3:::audit-bucket" in audit
    assert "word" in typed.text(
        "trust", "--assumed-role", "--destination", "audit", "--account", "123456789012"
    )
    cold = typed.text("bucket-policy", "--destination", "cold", "--account", "123456789012")
    assert "arn:aws:s3:::cold" in cold
    assert "role/copies" in typed.text("commands")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["bucket-policy"], "choose by --destination NAME: default | audit | copy | cold"),
        (["policy", "--assumed-role"], "choose by --destination NAME"),
        (["policy", "--destination", "adit"], "did you mean 'audit'?"),
    ],
)
def test_which_of_several_destinations_must_be_told(
    typed: Typed, words: list[str], hint: str
) -> None:
    typed.more = SEVERAL
    typed.configure("")
    assert hint in typed.text(*words, code=1)


def test_the_template_has_each_bucket_of_ones_own(typed: Typed) -> None:
    typed.more = SEVERAL
    typed.configure("")
    document = typed.document("cloudformation")
    resources = document["Resources"]
    assert {*resources} == {
        *("Role", "InstanceProfile", "Bucket", "BucketPolicy", "Bucket2", "BucketPolicy2")
    }
    cold = resources["Bucket2"]["Properties"]
    assert (cold["BucketName"], cold["ObjectLockEnabled"]) == ("cold", True)
    assert resources["BucketPolicy2"]["Properties"]["Bucket"] == {"Ref": "Bucket2"}
    assert "ObjectLockEnabled" not in resources["Bucket"]["Properties"]
    assert linted(json.dumps(document)) == []
