"""The content of one bucket in memory: versions by key, and the multipart uploads that nobody sees yet."""

import base64
import hashlib
import zlib
from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headsaw.core.commit import PART_BYTES_MIN, PARTS_MAX, UploadedPart


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object; `body` is None for a delete marker."""

    id: str
    body: bytes | None
    etag: str
    modified_at: float
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Part:
    """One part that was uploaded."""

    body: bytes
    etag: str
    checksum: str


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload that is neither completed nor aborted."""

    bucket: str
    key: str
    metadata: Mapping[str, str]
    initiated_at: float
    parts: dict[int, Part] = field(default_factory=dict)


@dataclass(slots=True)
class Bucket:
    """`versions` of each key, newest last; `keys` are sorted, deleted ones included."""

    versioned: bool
    versions: dict[str, list[Version]] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)

    def latest(self, key: str) -> Version | None:
        """None if the key is absent or deleted."""
        versions = self.versions.get(key)
        return versions[-1] if versions and versions[-1].body is not None else None

    def add(self, key: str, version: Version) -> None:
        """It is the key's newest version, and without versioning its only one."""
        if key not in self.versions:
            insort(self.keys, key)
        self.versions[key] = [*self.versions.get(key, ()), version] if self.versioned else [version]


def completion_refusal(upload: Upload, parts: Sequence[UploadedPart]) -> str | None:
    """S3's error code for completing the upload with these parts; None if it completes."""
    numbers = [part.number for part in parts]
    if not 1 <= len(parts) <= PARTS_MAX:
        return "MalformedXML"
    if numbers != sorted(set(numbers)):
        return "InvalidPartOrder"
    stored = [upload.parts.get(number) for number in numbers]
    for part, held in zip(parts, stored, strict=True):
        if held is None or (part.etag, part.checksum) != (held.etag, held.checksum):
            return "InvalidPart"
        if part is not parts[-1] and len(held.body) < PART_BYTES_MIN:
            return "EntityTooSmall"
    if sum(len(held.body) for held in stored if held is not None) != sum(part.size for part in parts):
        return "InvalidRequest"
    return None


def multipart_etag(parts: Sequence[UploadedPart]) -> str:
    """The MD5 of the parts' MD5s, and their number."""
    joined = b"".join(bytes.fromhex(part.etag) for part in parts)
    return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(parts)}"


def md5_hex(body: bytes) -> str:
    """The eTag of an object that was put whole, and of a part."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def crc32_base64(body: bytes) -> str:
    """The checksum of a part."""
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
