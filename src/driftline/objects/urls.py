"""URLs of buckets: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from driftline.errors import InputError
from driftline.objects.keys import checked

SCHEMES: Final = {"s3": "Amazon S3, or what speaks like it", "gs": "Google Cloud Storage", "az": "Azure Blob Storage"}
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


def is_url(text: str) -> bool:
    """Whether it is meant as a URL, not as a path.

    >>> is_url("s3://bucket/objects"), is_url("./objects")
    (True, False)
    """
    return "://" in text


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket, or what is below a prefix of it."""

    scheme: str
    bucket: str
    prefix: str
    """Without a slash at either end; empty for the whole bucket."""

    @classmethod
    def of(cls, url: str) -> Self:
        """The place that `url` names.

        Raises:
            InputError: it is no such URL, or it holds more than bucket and prefix; what it holds is not repeated, for
                it may be a secret.

        >>> Place.of("s3://bucket/some/prefix/")
        Place(scheme='s3', bucket='bucket', prefix='some/prefix')
        """
        scheme, _, rest = url.partition("://")
        bucket, _, prefix = rest.partition("/")
        if scheme not in SCHEMES:
            known = ", ".join(f"{name}:// ({what})" for name, what in SCHEMES.items())
            raise InputError(f"{scheme}:// is no kind of store that Driftline knows; there are {known}, and folders")
        if not _BUCKET.fullmatch(bucket) or "?" in prefix or "#" in prefix:
            raise InputError(
                f"a URL that begins with {scheme}:// is not {scheme}://bucket/prefix: the bucket is missing or has "
                f"characters that it cannot have, or something follows `?` or `#`. Credentials and options belong into "
                f"the environment (docs/objects.md)"
            )
        prefix = prefix.strip("/")
        return cls(scheme, bucket, checked(prefix) if prefix else "")

    @classmethod
    def of_object(cls, url: str) -> tuple[Self, str]:
        """The bucket, and the key of the object in it that `url` names.

        >>> Place.of_object("s3://bucket/a/b.parquet")
        (Place(scheme='s3', bucket='bucket', prefix=''), 'a/b.parquet')
        """
        whole = cls.of(url)
        if not whole.prefix:
            raise InputError(f"{whole.url} is a bucket, not an object in it")
        return cls(whole.scheme, whole.bucket, ""), whole.prefix

    @property
    def url(self) -> str:
        """The URL, without a slash at its end."""
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")

    def below(self, key: str) -> str:
        """The URL of the object at `key`."""
        return f"{self.url}/{key}"
