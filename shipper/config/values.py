"""Good tables of the configuration as values of the core."""

import glob
import os

from shipper.config.schema import DestinationTable, WatchTable
from shipper.core.types import (
    AfterUpload,
    ChecksumAlgorithm,
    Compression,
    Destination,
    Watch,
    WatchName,
)


def name_of(table: WatchTable) -> str:
    """The watch's name: its own, else its directory's last."""
    return table.name or os.path.basename(table.directory.rstrip("/"))


def watch_from(table: WatchTable) -> Watch:
    """``[[watch]]`` as the core knows it."""
    directory = os.path.normpath(table.directory)
    return Watch(
        name=WatchName(name_of(table)),
        directory=directory,
        include=table.include,
        exclude=table.exclude + _archive_glob(directory, table.archive_directory),
        live=table.live,
        recursive=table.recursive,
        compression=Compression(table.compression),
        compression_level=table.compression_level,
        after_upload=AfterUpload(table.after_upload),
        delete_after_seconds=table.delete_after,
        archive_directory=table.archive_directory,
        settle_seconds=table.settle,
        follow_hard_links=table.follow_hard_links,
    )


def _archive_glob(directory: str, archive: str) -> tuple[str, ...]:
    """What was archived inside the watch is not found again."""
    below = os.path.relpath(archive, directory) if archive else ".."
    is_outside = below == ".." or below.startswith("../")
    return () if is_outside else (f"{glob.escape(below)}/**",)


def destination_from(table: DestinationTable) -> Destination:
    """``[destination]`` as the core knows it."""
    return Destination(
        bucket=table.bucket,
        prefix=table.prefix,
        key=table.key,
        region=table.region,
        endpoint_url=table.endpoint_url,
        addressing_style=table.addressing_style,
        use_fips_endpoint=table.use_fips_endpoint,
        use_dualstack_endpoint=table.use_dualstack_endpoint,
        expected_bucket_owner=table.expected_bucket_owner,
        storage_class=table.storage_class,
        server_side_encryption=table.server_side_encryption,
        kms_key_id=table.kms_key_id,
        bucket_key_enabled=table.bucket_key_enabled,
        acl=table.acl,
        tags=tuple(sorted(table.tags.items())),
        checksum=ChecksumAlgorithm(table.checksum),
        conditional_writes=table.conditional_writes,
        sign_payloads=table.sign_payloads,
        role_arn=table.role_arn,
        external_id=table.external_id,
    )
