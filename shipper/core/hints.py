"""What an operator can do about each failure. Pure; ``failures.hint_for`` looks here.

A hint names the setting, the command or the place to look at. It claims no cause that the code
does not prove.
"""

import re

AS_SHIPPER = "/usr/bin/as-shipper"
"""There where shipper was installed with its unit."""
OTHER_USER = (
    "use sudo, or run as the user that shipper runs as; a running daemon answers the group shipper"
)
CLOCK = "this machine's clock is wrong: look at its time synchronisation"
NO_PERMISSION = "give the daemon write permission on the directory"
NO_SPACE = "free space in the state directory"
DISK_FILLED = (
    "`shipper status` says why files wait for S3; else it is filled by live logs, by what is kept "
    "or held open, or by what is no log"
)
NOT_WRITABLE = (
    "the state directory and the files in it must belong to the user that shipper runs as "
    "(`chown -R shipper: /var/lib/shipper`), and its file system must be mounted read-write"
)
TAG_NEEDED = (
    "tag the instance, and allow tags in its metadata: `aws ec2 modify-instance-metadata-options "
    "--instance-metadata-tags enabled`; it is asked again within a minute. A container has no tags"
)
HEARTBEAT_DENIED = (
    "the role must have s3:PutObject on what begins with _fleet/ behind the prefix: "
    "`shipper iam policy` prints it"
)
HEARTBEAT_DENIED = (
    "the role must have s3:PutObject on what begins with _fleet/ behind the prefix: "
    "`shipper iam policy` prints it"
)
OTHER_FILE_SYSTEM = "archive_directory must be on the same file system as the watch"
OTHER_MOUNT = "archive_directory must be on the mount of the watch: one ReadWritePaths= for both"
ITS_TROUBLE = (
    "S3 itself has trouble, and is tried again: look at https://health.aws.amazon.com, or at the "
    "log of the server that destination.endpoint_url names"
)
ANY_SETTING = (
    "S3's words say what it refuses: what every request says (then correct or leave out acl, "
    "tags, storage_class, checksum, server_side_encryption, kms_key_id or conditional_writes of "
    "the destination, and restart), or something of the bucket, the account or the server"
)
NO_REASON = (
    "the answer is empty or was cut off, so it gives no reason: a proxy or a web filter in "
    "between? Else look at the bucket's policies, or at the server's log"
)
_PROXY = (
    "does the proxy run that HTTPS_PROXY (HTTP_PROXY for http) in the daemon's environment names, "
    "and does it let S3 through? What NO_PROXY names goes without it"
)
_PROXY_WANTS_USER = (
    "the proxy wants a user: HTTPS_PROXY (HTTP_PROXY for http) in the daemon's environment is "
    "http://USER:PASSWORD@HOST:PORT; or name the endpoint in NO_PROXY"
)
_PROXY_URL = (
    "HTTPS_PROXY and HTTP_PROXY in the daemon's environment are http://HOST:PORT, or "
    "http://USER:PASSWORD@HOST:PORT with %2F %23 %3F %40 for / # ? @ in a password"
)
_CERTIFICATE = "TLS failed: is an intercepting proxy's certificate missing from AWS_CA_BUNDLE?"
_NAME = (
    "look at DNS (/etc/resolv.conf, the VPC's enableDnsSupport), and whether destination.region "
    "and destination.endpoint_url are right"
)
_REFUSED = "nothing listens there, or a firewall refuses: look at destination.endpoint_url"
_ROUTE = "look at the subnet's route table, its NAT or internet gateway, and the VPC endpoint"
_ATTRIBUTES = (
    "immutable or append-only (`lsattr`, `chattr -ia`)? Another's, in a sticky directory?"
)
_MOUNT = "name the directory in the unit's ReadWritePaths=, or mount it writable."
BY_WORD = {
    "RemoveDenied": (
        ("not permitted", f"{_ATTRIBUTES} Then `shipper retry`"),
        ("read-only", f"{_MOUNT} Then `shipper retry`"),
    ),
    "CrossDevice": (("another mount", OTHER_MOUNT),),
    "JournalUnwritable": (
        ("readonly", NOT_WRITABLE),
        ("unable to open", NOT_WRITABLE),
        ("i/o error", "the disk answers with errors: look at the kernel's log"),
    ),
    "NotS3": (("http 407", _PROXY_WANTS_USER),),
    "Unreachable": (
        ("url is malformed", _PROXY_URL),
        ("answers http 407", _PROXY_WANTS_USER),
        ("through the proxy", _PROXY),
        ("no tls with", _CERTIFICATE),
        ("not resolved", _NAME),
        ("connection refused", _REFUSED),
        ("no route", _ROUTE),
        ("network is unreachable", _ROUTE),
    ),
}
"""By code: words of the detail, in lower case, and what is better than the code's own hint."""

SETTINGS_BY_WORD = (
    ("accesscontrollist", "destination.acl"),
    ("malformedacl", "destination.acl"),
    ("if-none-match", "destination.conditional_writes = false"),
    ("crc64", 'destination.checksum = "crc32", or "none"'),
    ("checksum", 'destination.checksum = "none"'),
    ("trailer", 'destination.checksum = "none"'),
    ("storage-class", "destination.storage_class"),
    ("storage class", "destination.storage_class"),
    ("storageclass", "destination.storage_class"),
    ("x-amz-acl", "destination.acl"),
    ("acls", "destination.acl"),
    ("encryption", "destination.server_side_encryption"),
    ("kms", "destination.kms_key_id"),
    ("tag", "destination.tags"),
)
"""A word in a refusal, in lower case, and the setting that leaves the refused thing out."""

_DENIED = (
    "the role needs s3:PutObject on the prefix and s3:ListBucket on the bucket (with KMS also "
    "kms:GenerateDataKey and kms:Decrypt); `shipper iam policy` prints the policy"
)
_FULL = "the server's disks are full: make room there"
BY_PART = (
    ("quota", "a quota of the bucket, the user or the account is reached: raise it, or make room"),
    ("storagefull", _FULL),
    ("insufficientstorage", _FULL),
    ("forbidden", _DENIED),
)
"""A part, in lower case, of codes that each server spells in its own way."""

_KMS_KEY = "the KMS key of destination.kms_key_id, or of the bucket's default encryption,"
_SIZE = "the server takes no object of that size: rotate by size; `shipper retry` sends it again"
_BY_CODES = {
    "AccessDenied": _DENIED,
    "NoSuchBucket": "create the bucket or correct destination.bucket",
    "InvalidBucketName": "correct destination.bucket",
    "PermanentRedirect AuthorizationHeaderMalformed IllegalLocationConstraintException": (
        "the bucket is in another region: set destination.region"
    ),
    "TemporaryRedirect": (
        "a new bucket's name leads to its region within hours; with destination.region set right "
        "it works at once"
    ),
    "NotImplemented InvalidArgument InvalidRequest MissingContentLength": (
        "a compatible server that does not know what it was sent? Then set destination.checksum "
        'to "crc32" or "none", or destination.conditional_writes = false, and restart'
    ),
    "SignatureDoesNotMatch": "look for a proxy that rewrites requests, or a wrong clock",
    "RequestTimeTooSkewed": f"{CLOCK}; the next request is signed with the time that S3 told",
    "ExpiredToken ExpiredTokenException TokenRefreshRequired": (
        "the role credentials have expired, and new ones are asked for; if it stays so, `shipper "
        "check` asks for some, too, and says whether the clock is wrong"
    ),
    "InvalidToken InvalidAccessKeyId InvalidClientTokenId UnrecognizedClientException "
    "InvalidSecurity": (
        "S3 does not take the role credentials, and new ones are asked for. If it stays so: does "
        "destination.endpoint_url lead to another vendor's server, is destination.region of "
        "another partition or not enabled for the account, was the role deleted?"
    ),
    "CredentialsUnavailable": "`shipper check` asks for some, and says what is wrong",
    "AllAccessDisabled AccountProblem NotSignedUp UserSuspended UnauthorizedAccess": (
        "it is said of the account that owns the bucket or the role: ask its owner, or AWS Support"
    ),
    "InvalidStorageClass": "correct destination.storage_class",
    "InvalidBucketState": (
        "the bucket's own settings forbid such writes: look at its Object Lock and versioning, "
        "and at destination.storage_class"
    ),
    "InvalidTag": (
        "S3 takes letters, digits, spaces and + - = . _ : / @ in tags: correct destination.tags "
        "and restart"
    ),
    "MethodNotAllowed": (
        "the server or an object lock forbids it for this key: look at the bucket's policies, and "
        "at destination.endpoint_url"
    ),
    "InvalidURI InvalidObjectName XMinioInvalidObjectName XMinioParentIsObject "
    "XMinioObjectExistsAsDirectory": (
        "the server takes no such key: correct destination.prefix or destination.key"
    ),
    "InvalidObjectState": "an archived object stands under the key: restore it, or remove it",
    "KMS.DisabledException": f"{_KMS_KEY} is disabled: `aws kms enable-key`",
    "KMS.NotFoundException": f"{_KMS_KEY} must exist, in the bucket's region",
    "KMS.KMSInvalidStateException KMS.InvalidStateException": (
        f"{_KMS_KEY} is about to be deleted, or has no key material: `aws kms describe-key`"
    ),
    "KMS.InvalidKeyUsageException": f"{_KMS_KEY} must be symmetric, for ENCRYPT_DECRYPT",
    "KMS.AccessDeniedException": (
        f"{_KMS_KEY} must allow the role kms:GenerateDataKey and kms:Decrypt, and so must the "
        "role's policy"
    ),
    "KMS.ThrottlingException": (
        "KMS wants fewer requests, and is tried again: destination.bucket_key_enabled = true "
        "needs far fewer"
    ),
    "NotS3": (
        "something between here and S3 answers in its place: a proxy (HTTPS_PROXY, NO_PROXY in "
        "the daemon's environment), a web filter or a captive portal?"
    ),
    "Unreachable": "no connection: look at routes, security groups, the VPC endpoint and DNS",
    "InternalError RequestTimeout": ITS_TROUBLE,
    "SlowDown ServiceUnavailable TooManyRequests Throttling ThrottlingException": (
        "S3 wants fewer requests, and is asked less often. If it stays so: spread the keys over "
        "more prefixes, or set uploads.bandwidth_limit or uploads.start_splay"
    ),
    "KeyTaken": (
        "the key holds another object, or this log as a lost journal sent it with another "
        "compression_level or part_size; it was not overwritten. Compare the two, then `shipper "
        "retry`: it sends the log under another key. (Does the bucket encrypt with KMS by "
        "default? Then say so in destination.server_side_encryption, for its ETags tell nothing.)"
    ),
    "ManifestTaken": (
        "two machines with one instance id, or a journal that was restored from a copy? Another "
        "epoch begins, which lists the same entries; the object there is left as it is"
    ),
    "ObjectMissing": (
        "S3 accepted it twice and does not list it: does something move objects away? `shipper "
        "retry` looks again"
    ),
    "ObjectUnproven": (
        "while nothing shows that S3 stored what was sent, the file stays: set "
        "destination.sign_payloads = true, or a destination.checksum that the server repeats, "
        'restart, then `shipper retry`; or set after_upload = "keep"'
    ),
    "SourceVanished SourceChanged": (
        "put the file back and `shipper retry` its number; if it is lost for good, `shipper "
        "acknowledge` the number"
    ),
    "KeyTooLong KeyTooLongError": (
        "shorten destination.prefix or destination.key, then `shipper retry`"
    ),
    "EntityTooLarge TooLarge": _SIZE,
    "MetadataTooLarge": (
        "the path is kept beside the object: shorten it (the watch's directory, or the file's "
        "name), then `shipper retry`"
    ),
    "LifecycleUnknown": (
        "are termination.autoscaling_group and termination.lifecycle_hook right for this instance?"
    ),
    "NotRegular": "only regular files are shipped: put one there, then `shipper retry`",
    "SourceUnreadable": "give the daemon read permission on the file, then `shipper retry`",
    "RemoveDenied": f"{NO_PERMISSION}, then `shipper retry`",
    "CrossDevice": OTHER_FILE_SYSTEM,
    "WriterUnproven": (
        "give the daemon CAP_LEASE (the unit has it); where the file system cannot tell, "
        "after_upload_unproven = true on the watch removes the file all the same"
    ),
    "WatchRemoved": "bring the watch back into the configuration, then `shipper retry`",
    "JournalUnwritable": NO_SPACE,
    "Bug": (
        "a bug of shipper: please report it with the traceback in the log; `shipper retry` tries "
        "again"
    ),
}
OF_CODES = {code: hint for codes, hint in _BY_CODES.items() for code in codes.split()}

_DENYING = re.compile(
    r"explicit deny in an? ([\w -]*?(?:policy|permissions boundary))"
    r"|because no ([\w -]*?(?:policy|permissions boundary)) allows"
)
"""https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html"""
_WHERE = {
    "identity-based policy": "attached to the role",
    "resource-based policy": "the bucket policy, or that of the access point or KMS key",
    "service control policy": "of the organization",
    "resource control policy": "of the organization that owns the bucket",
    "vpc endpoint policy": "of the VPC endpoint for S3 that the instance uses",
    "permissions boundary": "of the role",
    "session policy": "of the session in which the role was assumed",
}


def denied(said: str) -> str:
    """S3 says which kind of policy denies, or is the one that does not allow."""
    found = _DENYING.search(said)
    if found is None:
        return _DENIED
    kind = (found[1] or found[2]).strip()
    where = f" ({_WHERE[kind]})" if kind in _WHERE else ""
    kind = kind.replace("vpc", "VPC")
    if found[1]:
        deny = f"the explicit deny in a {kind}{where}"
        return f"remove or narrow {deny}: no permission of the role outweighs it"
    return f"no {kind}{where} allows it: `shipper iam policy` prints what it has to allow"
